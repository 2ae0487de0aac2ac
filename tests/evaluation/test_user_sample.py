import polars as pl

from recsys.evaluation.user_sample import draw_users

EVERYBODY = pl.Series("user_id", [f"u{number:04d}" for number in range(1000)])


def test_all_users_where_there_are_not_more():
    for size in (None, 1000, 5000):
        assert draw_users(EVERYBODY.reverse(), size).equals(EVERYBODY)


def test_the_same_users_are_drawn_whatever_their_order():
    drawn = draw_users(EVERYBODY, 100)
    assert drawn.n_unique() == 100
    assert drawn.is_sorted()
    assert drawn.equals(draw_users(EVERYBODY.shuffle(seed=1), 100))
    # Not the first ones, nor every tenth one.
    assert not drawn.equals(EVERYBODY.head(100))
    assert drawn.str.slice(1).cast(pl.Int64).diff().drop_nulls().n_unique() > 5


def test_a_user_who_is_drawn_stays_so_when_others_leave():
    drawn = set(draw_users(EVERYBODY, 100))
    half = EVERYBODY.gather_every(2)
    assert drawn & set(half) <= set(draw_users(half, 100))
    assert set(draw_users(EVERYBODY, 50)) < drawn

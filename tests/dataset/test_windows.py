from datetime import UTC, datetime, timedelta
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from worlds import at, checkerboard, event_rows, make_interactions, shuffle

from recsys.config import WindowsConfig
from recsys.dataset.windows import Windows, cut, resolve_end, split_windows
from recsys.errors import DataError

DAY_20 = at(20)
PAIR = ["user_id", "item_id"]
BY_TIME = WindowsConfig(test_days=5, label_windows=2)
BY_SHARE = WindowsConfig(test_share=0.2, label_windows=2)
BY_PLACE = WindowsConfig(protocol="leave_last_out", label_windows=2)
RANDOM = WindowsConfig(protocol="random", holdout_share=0.3)
COLD = WindowsConfig(protocol="cold_items", holdout_share=0.3)
FILE = WindowsConfig(protocol="holdout_file", holdout_path="test.csv", holdout_share=0.3)
PROTOCOLS = pytest.mark.parametrize(
    "config", [BY_TIME, BY_SHARE, BY_PLACE, RANDOM, COLD, FILE], ids=lambda one: f"{one.protocol}-{one.test_share}"
)
few = settings(max_examples=15, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])


def split(
    interactions: pl.DataFrame,
    config: WindowsConfig,
    *,
    repeats: bool = False,
    end: datetime | None = DAY_20,
    seed: int = 0,
    holdout: pl.DataFrame | None = None,
) -> Windows:
    if config.protocol == "holdout_file" and holdout is None:
        # Every third pair, whatever the order of the rows.
        holdout = interactions.select(PAIR).unique().sort(PAIR).gather_every(3)
    return split_windows(interactions, config, repeats=repeats, end=end, seed=seed, holdout=holdout)


def split_or_reject(interactions: pl.DataFrame, config: WindowsConfig, **more: object) -> Windows:
    try:
        return split(interactions, config, **more)
    except DataError:
        reject()


def failure(interactions: pl.DataFrame, config: WindowsConfig, **more: object) -> str:
    with pytest.raises(DataError) as caught:
        split(interactions, config, **more)
    return str(caught.value)


def pairs(frame: pl.DataFrame) -> set[tuple[str, str]]:
    return set(frame.select(PAIR).iter_rows())


def facts(windows: Windows) -> list[object]:
    """All that may matter about windows, rows of a history in one order."""
    columns = ["user_id", "step", "item_id", "event", "weight", "positive", "time"]
    return [
        (one.name, one.cutoff, one.end, one.history.sort(columns).rows(), one.positives.select(PAIR).rows())
        for one in windows.windows
    ]


# --- what every protocol keeps ---------------------------------------------------------------------------


@PROTOCOLS
@pytest.mark.parametrize("repeats", [False, True])
@few
@given(rows=event_rows(min_size=12), seed=st.integers(0, 3))
def test_nothing_to_predict_is_known_before(config, repeats, rows, seed):
    # A row number of its own tells an event from its twin.
    interactions = make_interactions(*rows).with_row_index("row")
    windows = split_or_reject(interactions, config, repeats=repeats, seed=seed)
    known = [set(one.history["row"]) for one in windows.windows]
    assert set(windows.everything["row"]) > known[0]
    for newer, older in pairwise(known):
        assert newer >= older
    for number, window in enumerate(windows.windows):
        assert window.positives.columns == [*PAIR, "events"]
        assert window.positives.select(PAIR).rows() == sorted(
            pairs(window.positives), key=lambda pair: [k.encode() for k in pair]
        )
        for newer in windows.windows[: number + 1]:
            label_rows = find_label_rows(newer, interactions)
            assert pairs(label_rows) >= pairs(newer.positives)
            assert not set(label_rows["row"]) & known[number]
            if not repeats or config.protocol in ("random", "cold_items", "holdout_file"):
                assert not pairs(newer.positives) & pairs(window.history)


def find_label_rows(window, interactions):
    """Return the positive events that make the window's positives, found another way than `split_windows` does."""
    mine = interactions.filter("positive").join(window.positives, on=PAIR, how="semi")
    if window.cutoff is not None:
        return mine.filter(pl.col("time").is_between(window.cutoff, window.end, closed="left"))
    newest_known = window.history.group_by("user_id").agg(pl.col("step").max().alias("newest"))
    if mine.join(window.history, on=PAIR, how="semi").is_empty():
        return mine
    return mine.join(newest_known, on="user_id").filter(pl.col("step") > pl.col("newest"))


@PROTOCOLS
@few
@given(rows=event_rows(min_size=12), seed=st.integers(0, 3))
def test_order_of_the_rows_does_not_matter(config, rows, seed):
    interactions = make_interactions(*rows)
    windows = split_or_reject(interactions, config, seed=seed)
    assert facts(split(shuffle(interactions, 5), config, seed=seed)) == facts(windows)


@pytest.mark.parametrize("config", [BY_TIME, BY_PLACE], ids=lambda one: one.protocol)
@few
@given(rows=event_rows(min_size=12), repeats=st.booleans())
def test_older_windows_are_the_windows_of_the_older_data(config, rows, repeats):
    windows = split_or_reject(make_interactions(*rows), config, repeats=repeats)
    fewer = config.model_copy(update={"label_windows": 1})
    test = windows.test
    end = test.cutoff if config is BY_TIME else windows.end
    again = split(test.history, fewer, repeats=repeats, end=end)
    assert [one[1:] for one in facts(again)] == [one[1:] for one in facts(windows)[1:]]


@PROTOCOLS
def test_nothing_from_the_end_on_is_seen(config):
    interactions = checkerboard()[1]
    late = make_interactions(("u000", "i000", 60), ("new", "i001", 61.5), ("new", "i002", 70))
    windows = split(interactions, config, end=at(60))
    assert facts(split(pl.concat([interactions, late]), config, end=at(60), holdout=holdout_of(interactions))) == facts(
        split(interactions, config, end=at(60), holdout=holdout_of(interactions))
    )
    assert windows.end == at(60)
    assert windows.everything.height == interactions.height


def holdout_of(interactions):
    return interactions.select(PAIR).unique().sort(PAIR).gather_every(3)


@PROTOCOLS
def test_names_and_roles(config):
    windows = split(checkerboard()[1], config, end=at(60))
    names = ["test", "label 1", "label 2"][: config.label_windows + 1]
    assert [one.name for one in windows.windows] == names
    assert windows.test.name == "test"
    assert [one.name for one in windows.measurement_fold.labels] == names[1:]
    assert [one.name for one in windows.refit_fold.labels] == names[:-1]


@PROTOCOLS
def test_folds_of_measurement_and_refit(config):
    windows = split(checkerboard()[1], config, end=at(60))
    measurement, refit = windows.measurement_fold, windows.refit_fold
    assert measurement.labels == windows.windows[1:]
    assert (measurement.known, measurement.cutoff) == (windows.test.known, windows.test.cutoff)
    assert refit.labels == windows.windows[:-1]
    assert (refit.known, refit.cutoff) == (windows.known, at(60))
    assert windows.test not in measurement.labels


# --- global_time -----------------------------------------------------------------------------------------


def test_windows_of_days_are_half_open():
    interactions = make_interactions(
        ("u", "a", 1),
        ("u", "b", 4.999),
        ("u", "c", 5),
        ("u", "d", 9.999),
        ("u", "e", 10),
        ("u", "f", 14.999),
        ("u", "g", 15),
    )
    windows = split(interactions, WindowsConfig(test_days=5), end=at(15))
    test, label = windows.windows
    assert (label.cutoff, label.end, test.cutoff, test.end) == (at(5), at(10), at(10), at(15))
    assert label.history["item_id"].to_list() == ["a", "b"]
    assert label.positives["item_id"].to_list() == ["c", "d"]
    assert test.history["item_id"].to_list() == ["a", "b", "c", "d"]
    assert test.positives["item_id"].to_list() == ["e", "f"]
    assert windows.everything["item_id"].to_list() == list("abcdef")


def test_days_may_be_fractions():
    windows = split(
        make_interactions(("u", "a", 1), ("u", "b", 9.2), ("u", "c", 9.7)), WindowsConfig(test_days=0.5), end=at(10)
    )
    assert windows.test.cutoff == at(9.5)
    assert windows.measurement_fold.labels[0].positives["item_id"].to_list() == ["b"]


def test_windows_of_shares_start_at_an_event():
    rows = make_interactions(*(("u", f"i{day}", day) for day in range(10)))
    windows = split(rows, BY_SHARE, end=at(30))
    assert [(one.cutoff, one.end) for one in windows.windows] == [(at(8), at(30)), (at(6), at(8)), (at(4), at(6))]
    assert [one.history.height for one in windows.windows] == [8, 6, 4]


@pytest.mark.parametrize("share", [0.1, 0.2, 0.3])
@pytest.mark.parametrize("events", [10, 30, 70, 100])
def test_share_is_exact_where_it_can_be(share, events):
    rows = make_interactions(*(("u", f"i{number}", number / 10) for number in range(events)))
    windows = split(rows, WindowsConfig(test_share=share, label_windows=2))
    assert [one.positives.height for one in windows.windows] == [round(events * share)] * 3


def test_a_window_of_a_share_holds_one_event_at_least():
    rows = make_interactions(("u", "a", 1), ("u", "b", 2), ("u", "c", 3))
    windows = split(rows, WindowsConfig(test_share=0.01), end=at(30))
    assert [one.positives.select(PAIR).rows() for one in windows.windows] == [[("u", "c")], [("u", "b")]]
    config = WindowsConfig(test_share=0.01, label_windows=7)
    assert "the label 2 window" in failure(rows, config, end=at(30))


def test_what_the_user_has_is_no_positive_unless_it_repeats():
    rows = make_interactions(
        ("u", "a", 1), ("u", "a", 6), ("u", "b", 7), ("v", "a", 11), ("u", "a", 11), ("u", "c", 12)
    )
    config = WindowsConfig(test_days=5)
    plain, repeating = split(rows, config, end=at(15)), split(rows, config, repeats=True, end=at(15))
    assert [one.positives.select(PAIR).rows() for one in plain.windows] == [[("u", "c"), ("v", "a")], [("u", "b")]]
    assert [one.positives.select(PAIR).rows() for one in repeating.windows] == [
        [("u", "a"), ("u", "c"), ("v", "a")],
        [("u", "a"), ("u", "b")],
    ]


def test_what_the_user_only_looked_at_can_be_a_positive():
    look = {"positive": False, "consumed": False}
    rows = make_interactions(
        {"user": "u", "item": "a", "day": 1, **look},
        {"user": "u", "item": "b", "day": 2, **look},
        {"user": "u", "item": "c", "day": 3, "positive": False},
        {"user": "u", "item": "b", "day": 8},
        {"user": "u", "item": "c", "day": 11},
        {"user": "u", "item": "a", "day": 12},
    )
    windows = split(rows, WindowsConfig(test_days=5), end=at(15)).windows
    # a was only looked at before; c was taken without being liked.
    assert [one.positives.select(PAIR).rows() for one in windows] == [[("u", "a")], [("u", "b")]]
    config = WindowsConfig(protocol="leave_last_out", label_windows=1)
    assert [one.positives.select(PAIR).rows() for one in split(rows, config).windows] == [[("u", "a")], [("u", "b")]]


def test_a_window_knows_the_first_place_at_which_items_were_shown_in_it():
    shown = {"positive": False, "consumed": False}
    rows = make_interactions(
        {"user": "u", "item": "a", "day": 1, "position": 9},
        {"user": "u", "item": "b", "day": 11, "position": 4, **shown},
        {"user": "u", "item": "b", "day": 12, "position": 2, **shown},
        {"user": "u", "item": "c", "day": 13, "position": 1},
        {"user": "u", "item": "d", "day": 14},
        {"user": "v", "item": "a", "day": 6},
    )
    test, label = split(rows, WindowsConfig(test_days=5), end=at(15)).windows
    assert test.shown.rows() == [("u", "b", 2), ("u", "c", 1)]
    assert label.shown.is_empty()
    assert label.shown.schema == test.shown.schema


def test_rows_that_are_not_positive_are_history_only():
    rows = make_interactions(
        ("u", "a", 1),
        {"user": "u", "item": "b", "day": 6, "positive": False},
        ("u", "c", 7),
        {"user": "u", "item": "d", "day": 12, "positive": False},
        ("u", "d", 13),
        ("u", "b", 14),
    )
    test, label = split(rows, WindowsConfig(test_days=5), end=at(15)).windows
    assert label.positives.select(PAIR).rows() == [("u", "c")]
    # b was looked at before, so it is the user's already; d became positive inside the window.
    assert test.positives.select(PAIR).rows() == [("u", "d")]
    assert "b" in test.history["item_id"]


# --- leave_last_out --------------------------------------------------------------------------------------


def test_leave_last_out_by_hand():
    rows = make_interactions(
        *(("long", item) for item in "abcde"),
        ("one", "a"),
        *(("two", item) for item in "ab"),
        {"user": "never", "item": "a", "positive": False},
        {"user": "never", "item": "b", "positive": False},
        *({"user": "mixed", "item": item, "positive": item in "bd"} for item in "abcde"),
    )
    windows = split(rows, BY_PLACE, end=None)
    held = [
        {user: "".join(own["item_id"]) for (user,), own in one.history.group_by("user_id", maintain_order=True)}
        for one in windows.windows
    ]
    assert held[0] == {"long": "abcd", "one": "a", "two": "a", "never": "ab", "mixed": "abc"}
    assert held[1] == {"long": "abc", "one": "a", "two": "a", "never": "ab", "mixed": "a"}
    assert held[2] == {"long": "ab", "one": "a", "two": "a", "never": "ab", "mixed": "a"}
    assert [one.positives.select(PAIR).rows() for one in windows.windows] == [
        [("long", "e"), ("mixed", "d"), ("two", "b")],
        [("long", "d"), ("mixed", "b")],
        [("long", "c")],
    ]
    assert {(one.cutoff, one.end) for one in windows.windows} == {(None, None)}


def test_leave_last_out_predicts_first_takes_unless_items_repeat():
    rows = make_interactions(("u", "a", 1), ("u", "b", 2), ("u", "c", 3), ("u", "a", 4))
    config = WindowsConfig(protocol="leave_last_out", label_windows=1)
    assert [pairs(window.positives) for window in split(rows, config).windows] == [{("u", "c")}, {("u", "b")}]
    repeated = split(rows, config, repeats=True)
    assert [pairs(window.positives) for window in repeated.windows] == [{("u", "a")}, {("u", "c")}]


def test_leave_last_out_takes_one_of_equal_times():
    rows = make_interactions(("u", "a", 1), ("u", "c", 2), ("u", "b", 2), ("v", "a", 1), ("v", "b", 1), ("v", "c", 1))
    test, label = split(rows, WindowsConfig(protocol="leave_last_out")).windows
    assert test.positives.select(PAIR).rows() == [("u", "b"), ("v", "c")]
    assert label.positives.select(PAIR).rows() == [("u", "c"), ("v", "b")]
    assert label.history.select(PAIR).rows() == [("u", "a"), ("v", "a")]


# --- random, cold_items, holdout_file ----------------------------------------------------------------------


def test_random_takes_a_share_of_the_distinct_pairs():
    interactions = checkerboard()[1]
    doubled = pl.concat([interactions, interactions])
    windows = split(doubled, RANDOM, end=at(60))
    assert interactions.height == 100
    assert [one.positives.height for one in windows.windows] == [30, 21]
    # Both rows of a pair go together.
    assert [one.history.height for one in windows.windows] == [140, 98]


def test_cold_items_are_unknown_in_their_window():
    interactions = checkerboard()[1]
    windows = split(interactions, COLD, end=at(60))
    test, label = windows.windows
    cold = [set(one.positives["item_id"]) for one in windows.windows]
    assert [len(items) for items in cold] == [6, 4]
    assert not cold[0] & set(test.history["item_id"])
    assert not (cold[0] | cold[1]) & set(label.history["item_id"])
    assert set(test.history["item_id"]) | cold[0] == set(interactions["item_id"])


@pytest.mark.parametrize("config", [RANDOM, COLD, FILE], ids=lambda one: one.protocol)
def test_the_seed_draws(config):
    interactions = checkerboard()[1]
    one, twin, other = (split(interactions, config, end=at(60), seed=seed) for seed in (1, 1, 2))
    assert facts(one) == facts(twin)
    assert facts(one)[1] != facts(other)[1]


def test_holdout_file_names_the_test_pairs():
    interactions = make_interactions(
        *(("u", item) for item in "abcd"),
        ("v", "a"),
        ("v", "a"),
        {"user": "v", "item": "b", "positive": False},
    )
    named = pl.DataFrame({"user_id": ["v", "u", "v", "v"], "item_id": ["a", "d", "b", "a"]})
    windows = split(interactions, FILE, end=None, holdout=named)
    # v-b is held out, but no positive.
    assert windows.test.positives.select(PAIR).rows() == [("u", "d"), ("v", "a")]
    assert windows.test.history.select(PAIR).rows() == [("u", "a"), ("u", "b"), ("u", "c")]
    assert windows.measurement_fold.labels[0].positives.height == 1


def test_holdout_pairs_may_lie_outside_the_interactions():
    interactions = make_interactions(("u", "a"), ("u", "b"), ("v", "a"))
    named = pl.DataFrame({"user_id": ["v", "u", "x", None, "u"], "item_id": ["b", "b", "a", "a", None]})
    windows = split(interactions, FILE, end=None, holdout=named)
    assert windows.test.positives.select(PAIR).rows() == [("u", "b"), ("v", "b"), ("x", "a")]
    assert windows.test.history.select(PAIR).rows() == [("u", "a"), ("v", "a")]


# --- the end of a run --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("last", "expected"), [(0, 1), (0.5, 1), (1 - 1e-9, 1), (1, 2), (30.75, 31)])
def test_a_run_without_a_date_ends_the_midnight_after_the_last_event(last, expected):
    assert resolve_end(make_interactions(("u", "a", last), ("v", "b", last - 3)), None) == at(expected)


def test_a_run_date_is_its_midnight():
    assert resolve_end(make_interactions(("u", "a", 1)), "2024-02-29") == datetime(2024, 2, 29, tzinfo=UTC)


def test_without_times_there_is_no_end():
    assert resolve_end(make_interactions(("u", "a")), None) is None
    assert resolve_end(make_interactions(), None) is None


@pytest.mark.parametrize(
    "wrong", ["2025-02-30", "today", "", "2025-1-5", "20250105", "2025-01-05T00:00", " 2025-01-05"]
)
def test_a_wrong_run_date_is_refused(wrong):
    with pytest.raises(DataError, match=r"expected YYYY-MM-DD, such as 2025-01-31"):
        resolve_end(make_interactions(("u", "a", 1)), wrong)


def test_cut_is_half_open_and_keeps_rows_without_a_time():
    rows = make_interactions(("u", "a", 1), ("u", "b", 2), ("u", "c", 3))
    assert cut(rows, at(2))["item_id"].to_list() == ["a"]
    assert cut(rows, at(2) + timedelta(microseconds=1))["item_id"].to_list() == ["a", "b"]
    assert cut(rows, None).equals(rows)
    timeless = make_interactions(("u", "a"), ("u", "b"))
    assert cut(timeless, at(0)).equals(timeless)


# --- errors ------------------------------------------------------------------------------------------------


def test_nothing_before_the_end():
    assert "no interaction before 2025-01-01" in failure(make_interactions(("u", "a", 3)), BY_TIME, end=at(0))
    assert "no interaction;" in failure(make_interactions(), RANDOM, end=None)


def test_global_time_needs_times():
    timeless = make_interactions(("u", "a"), ("u", "b"))
    for end in (None, at(20)):
        assert "global_time needs a time on every interaction" in failure(timeless, BY_TIME, end=end)


def test_window_without_history_or_positives_says_what_to_change():
    rows = make_interactions(("u", "a", 11), ("u", "b", 12), ("u", "c", 16))
    message = failure(rows, BY_TIME)
    assert "the label 1 window from 2025-01-11T00:00:00+00:00 to 2025-01-16T00:00:00+00:00 has no history" in message
    assert "shorter test window" in message
    message = failure(rows, WindowsConfig(test_days=5), end=at(40))
    assert "the test window from 2025-02-05T00:00:00+00:00 to 2025-02-10T00:00:00+00:00 has no positives" in message
    assert "longer test window" in message
    assert "earlier --run-date" in message


def test_window_of_views_only_has_no_positives():
    rows = make_interactions(("u", "a", 1), {"user": "u", "item": "b", "day": 17, "positive": False})
    assert "the test window" in failure(rows, BY_TIME)


def test_too_many_shares():
    rows = make_interactions(*(("u", f"i{day}", day) for day in range(10)))
    assert "4 windows of test_share 0.25 leave no history" in failure(
        rows, WindowsConfig(test_share=0.25, label_windows=3)
    )


def test_everybody_at_one_instant_leaves_no_history():
    rows = make_interactions(*((f"u{number}", "a", 3) for number in range(10)))
    assert "has no history" in failure(rows, BY_SHARE)


@pytest.mark.parametrize("config", [BY_PLACE, RANDOM, COLD], ids=lambda one: one.protocol)
def test_one_interaction_is_too_little(config):
    assert "window has no" in failure(make_interactions(("u", "a", 1)), config)


def test_holdout_file_without_pairs():
    rows = make_interactions(("u", "a"), ("u", "b"))
    with pytest.raises(DataError, match="the hold-out file has no test pairs"):
        split_windows(rows, FILE, repeats=False, end=None, seed=0)
    nothing = pl.DataFrame(schema={"user_id": pl.String, "item_id": pl.String})
    assert "the test window has no positives" in failure(rows, FILE, end=None, holdout=nothing)

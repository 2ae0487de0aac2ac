"""The demo world keeps its promises: same bytes, sound rows, and texts, pairs and series that mean something."""

from __future__ import annotations

import gzip
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.dataset.demo import write_demo
from recsys.dataset.demo.catalogue import Catalogue, draw_catalogue
from recsys.dataset.demo.chinese import CHINESE
from recsys.dataset.demo.english import ENGLISH
from recsys.dataset.demo.grammar import GENRES, MOODS, MOTIFS, THEMES_PER_GENRE, Language
from recsys.dataset.demo.world import Views, build_shelves, draw_events
from recsys.errors import ArtifactError, ConfigError

FILES = ("interactions.csv.gz", "items.jsonl.gz")
SAMPLE = Path(__file__).parents[2] / "data" / "sample"
START = pl.datetime(2025, 1, 1, time_zone="UTC")


def read_items(folder: Path) -> pl.DataFrame:
    created = pl.col("created_at").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC")
    return pl.read_ndjson(gzip.decompress((folder / "items.jsonl.gz").read_bytes())).with_columns(created)


def read_events(folder: Path) -> pl.DataFrame:
    time = pl.col("timestamp").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC")
    return pl.read_csv(gzip.decompress((folder / "interactions.csv.gz").read_bytes())).with_columns(time)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo")
    write_demo(out, users=1500, items=960, days=60, seed=3)
    return out


@pytest.fixture(scope="module")
def views(world: Path) -> pl.DataFrame:
    """Views with the theme of their item."""
    catalogue = draw_catalogue(960, 60, 3)
    item = pl.col("item_id").str.slice(1).cast(pl.Int64)
    return (
        read_events(world)
        .filter(pl.col("event") == "view")
        .with_columns(
            theme=item.map_batches(lambda items: pl.Series(catalogue.theme[items]), pl.Int64),
            first=item.map_batches(lambda items: pl.Series(catalogue.first[items]), pl.Int64),
        )
    )


class TestBytes:
    def test_same_arguments_same_bytes_another_seed_other_bytes(self, tmp_path: Path) -> None:
        for name, seed in (("a", 7), ("b", 7), ("c", 8)):
            write_demo(tmp_path / name, users=30, items=40, days=10, seed=seed)
        for file in FILES:
            first, again, other = ((tmp_path / name / file).read_bytes() for name in "abc")
            assert first == again
            assert gzip.decompress(first) != gzip.decompress(other)

    def test_gzip_header_holds_no_time_and_no_name(self, world: Path) -> None:
        for file in FILES:
            header = (world / file).read_bytes()[:8]
            assert header == b"\x1f\x8b\x08\x00\x00\x00\x00\x00"

    def test_committed_sample_is_what_the_documented_command_writes(self, tmp_path: Path) -> None:
        write_demo(tmp_path, users=40, items=60, days=30, seed=0)
        for file in FILES:
            fresh, committed = (gzip.decompress((folder / file).read_bytes()) for folder in (tmp_path, SAMPLE))
            assert fresh == committed, file
        assert sum((SAMPLE / file).stat().st_size for file in FILES) < 40_000

    def test_language_changes_the_texts_and_nothing_else(self, tmp_path: Path) -> None:
        for language in ("en", "zh"):
            write_demo(tmp_path / language, users=20, items=480, days=10, seed=1, language=language)
        english, chinese = (read_items(tmp_path / language) for language in ("en", "zh"))
        assert (tmp_path / "en" / FILES[0]).read_bytes() == (tmp_path / "zh" / FILES[0]).read_bytes()
        assert english.select("id", "available", "created_at").equals(chinese.select("id", "available", "created_at"))
        for column in ("title", "description", "category", "author"):
            assert chinese[column].str.contains(r"^[^a-zA-Z{}]+$").all(), column
            assert english[column].str.contains(r"^[ -z]+$").all(), column

    def test_blocks_join_into_one_file(self, tmp_path: Path) -> None:
        done: list[int] = []
        write_demo(tmp_path, users=5_001, items=40, days=7, seed=0, progress=done.append)
        assert done == [5_000, 1]
        users = read_events(tmp_path)["user_id"]
        assert users.is_sorted()
        assert users.unique(maintain_order=True).to_list() == [f"u{user:07d}" for user in range(5_001)]


class TestRefusals:
    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"users": 0}, r"users is 0, expected 1 or more; choose a larger --users"),
            ({"items": 19}, r"items is 19, expected 20 or more"),
            ({"days": 6}, r"days is 6, expected 7 or more"),
            ({"seed": -1}, r"seed is -1, expected 0 or more"),
            ({"language": "fr"}, r"language is 'fr', expected en or zh"),
        ],
    )
    def test_arguments_out_of_range(self, tmp_path: Path, wrong: dict[str, int | str], message: str) -> None:
        arguments = {"users": 1, "items": 20, "days": 7, "seed": 0, "language": "en"} | wrong
        with pytest.raises(ConfigError, match=message):
            write_demo(tmp_path / "out", **arguments)  # type: ignore[arg-type]
        assert not (tmp_path / "out").exists()

    def test_folder_that_is_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "out").write_text("in the way")
        with pytest.raises(ArtifactError, match="cannot be written"):
            write_demo(tmp_path / "out", users=1, items=20, days=7, seed=0)

    def test_broken_off_run_leaves_the_old_files_and_nothing_else(self, tmp_path: Path) -> None:
        for file in FILES:
            (tmp_path / file).write_text("old")

        def stop(_: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            write_demo(tmp_path, users=5, items=20, days=7, seed=0, progress=stop)
        assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(FILES, "old")


@settings(max_examples=25, deadline=None)
@given(
    users=st.integers(1, 60),
    items=st.integers(20, 200),
    days=st.integers(7, 400),
    seed=st.integers(0, 2**40),
    language=st.sampled_from(["en", "zh"]),
)
def test_any_world_is_sound(users: int, items: int, days: int, seed: int, language: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_demo(Path(folder), users=users, items=items, days=days, seed=seed, language=language)
        catalogue, events = read_items(Path(folder)), read_events(Path(folder))
    assert catalogue["id"].to_list() == [f"i{item:06d}" for item in range(items)]
    assert catalogue["created_at"].is_sorted()
    assert not catalogue["description"].str.contains("[{}]").any()
    assert events.unique().height == events.height
    assert events.sort("user_id", "timestamp", maintain_order=True).equals(events)
    assert events["user_id"].n_unique() == users
    inside = pl.col("timestamp").is_between(START, START + pl.duration(days=days), closed="left")
    assert events.select(inside.all()).item()
    met = events.join(catalogue.select(item_id="id", created="created_at"), on="item_id", how="left")
    assert met.select((pl.col("created") + pl.duration(days=10) <= pl.col("timestamp")).all()).item()
    # One view per user and item, and it comes first.
    pairs = events.group_by("user_id", "item_id", maintain_order=True).agg(
        first=pl.col("event").first(), views=(pl.col("event") == "view").sum()
    )
    assert (pairs["first"] == "view").all()
    assert (pairs["views"] == 1).all()


class TestCatalogue:
    def test_small_catalogues_have_few_themes_of_equal_size(self) -> None:
        for items, themes in ((20, 4), (60, 12), (239, 46), (240, 48), (5000, 48)):
            catalogue = draw_catalogue(items, 30, 0)
            sizes = np.bincount(catalogue.theme)
            assert len(sizes) == catalogue.n_themes == themes
            assert sizes.max() - sizes.min() <= 1

    def test_items_arrive_before_and_during_the_period(self) -> None:
        created = draw_catalogue(2000, 50, 0).released
        assert (created < 0).sum() == 1400
        weeks = np.histogram(created[1400:], bins=5, range=(0, 50 * 86_400))[0]
        assert weeks.sum() == 600
        assert weeks.min() > 80

    def test_series_share_what_they_are_and_run_forward(self) -> None:
        catalogue = draw_catalogue(1000, 50, 0)
        before = np.flatnonzero(catalogue.following >= 0)
        after = catalogue.following[before]
        assert len(before) > 200
        for name in ("theme", "second", "motif", "mood", "quality", "first"):
            values = getattr(catalogue, name)
            assert (values[before] == values[after]).all(), name
        assert (catalogue.part[after] == catalogue.part[before] + 1).all()
        assert (after > before).all()
        assert catalogue.part.max() == 4

    def test_texts_carry_theme_and_motif(self, world: Path) -> None:
        items, catalogue = read_items(world), draw_catalogue(960, 60, 3)
        for item in range(0, 960, 37):
            theme = ENGLISH.themes[catalogue.theme[item]]
            title, description, tags, category = items.row(item)[1:5]
            assert category == theme.genre
            assert any(hero in description for hero in theme.heroes)
            assert any(place in description for place in theme.places)
            assert any(noun.title() in title for noun in theme.motifs[catalogue.motif[item]])
            second = ENGLISH.themes[catalogue.second[item]].name if catalogue.second[item] >= 0 else theme.name
            known = {theme.name, second, theme.motifs[catalogue.motif[item]][0]}
            assert set(tags) <= known | {ENGLISH.moods[catalogue.mood[item]].name}

    def test_texts_are_varied_and_of_the_promised_length(self, world: Path) -> None:
        items = read_items(world)
        assert items["title"].n_unique() > 0.9 * items.height
        assert items["description"].n_unique() == items.height
        words = items["description"].str.split(" ").list.len()
        assert 20 <= words.min() <= words.mean() <= 60
        assert items["description"].str.count_matches(r"[.](?: |$)").is_between(2, 4).all()
        assert 0 < (~items["available"]).mean() < 0.04

    def test_parts_of_a_series_share_their_author(self, world: Path) -> None:
        authors, catalogue = read_items(world)["author"].to_numpy(), draw_catalogue(960, 60, 3)
        assert (authors == authors[catalogue.first]).all()


class TestGrammar:
    @pytest.mark.parametrize("language", [ENGLISH, CHINESE])
    def test_languages_have_one_shape(self, language: Language) -> None:
        assert len({theme.name for theme in language.themes}) == GENRES * THEMES_PER_GENRE
        assert len({theme.genre for theme in language.themes}) == GENRES
        assert len({mood.name for mood in language.moods}) == MOODS
        for theme in language.themes:
            assert len(theme.heroes) == len(theme.places) == len(theme.aims) == 3
            assert len(theme.motifs) == MOTIFS
        for field in ("adjectives", "given_names", "family_names", "town_heads", "town_tails", "titles"):
            assert len(getattr(language, field)) == len(getattr(ENGLISH, field)), field

    def test_paired_themes_stand_in_different_genres(self) -> None:
        assert all(
            left.genre != right.genre for left, right in zip(ENGLISH.themes[::2], ENGLISH.themes[1::2], strict=True)
        )
        assert (ENGLISH.themes[0].name, ENGLISH.themes[1].name) == ("heists", "second chances")
        assert (CHINESE.themes[0].name, CHINESE.themes[1].name) == ("惊天劫案", "破镜重圆")

    def test_names_follow_the_custom_of_the_language(self) -> None:
        assert ENGLISH.name_person(0, 32) == "Mara Quill"
        assert CHINESE.name_person(0, 32) == "顾思远"
        assert ENGLISH.name_town(21) == "Marwick"


class TestShelves:
    """Four items of theme 0 released at -10, -5, 2 and 9 seconds with qualities 1, 3, 4 and 8; theme 1 is bare."""

    @pytest.fixture
    def catalogue(self) -> Catalogue:
        zeros = np.zeros(4, dtype=np.int64)
        return Catalogue(
            n_themes=2,
            theme=zeros,
            second=zeros - 1,
            motif=zeros,
            mood=zeros,
            quality=np.array([1.0, 3.0, 4.0, 8.0]),
            released=np.array([-10, -5, 2, 9]),
            part=zeros,
            first=np.arange(4),
            following=zeros - 1,
            available=np.ones(4, dtype=bool),
        )

    @pytest.mark.parametrize(
        ("shelf", "since", "until", "chances", "items"),
        [
            # Weights 1 and 3: a quarter of the chances go to the first.
            (0, -1000, 1, [0.0, 0.24, 0.26, 0.99], [0, 0, 1, 1]),
            (0, -1000, 9, [0.06, 0.2, 0.4, 0.6], [0, 1, 2, 3]),
            # Both ends count.
            (0, -5, 2, [0.0, 0.42, 0.44, 0.99], [1, 1, 2, 2]),
            # Nothing new since then: anything from this shelf; nothing on this shelf: the front page.
            (0, 3, 8, [0.0, 0.13, 0.6], [0, 1, 2]),
            (1, -5, 2, [0.0, 0.13, 0.6], [0, 1, 2]),
        ],
    )
    def test_pick_follows_weight_and_time(
        self, catalogue: Catalogue, shelf: int, since: int, until: int, chances: list[float], items: list[int]
    ) -> None:
        shelves = build_shelves(catalogue, days=7)
        rows = np.ones(len(chances), dtype=np.int64)
        picked = shelves.pick(rows * shelf, rows * since, rows * until, np.array(chances))
        assert picked.tolist() == items


class TestUsers:
    def test_event_rates_are_those_of_a_shop(self, world: Path) -> None:
        counts = dict(read_events(world)["event"].value_counts().iter_rows())
        shares = {event: count / counts["view"] for event, count in counts.items()}
        assert 0.25 < shares["click"] < 0.35
        assert 0.06 < shares["like"] < 0.10
        assert 0.03 < shares["purchase"] < 0.05
        assert 0.005 < shares["share"] < shares["comment"] < 0.03

    def test_activity_has_a_median_and_a_tail(self, world: Path) -> None:
        counts = read_events(world).group_by("user_id").len()["len"]
        assert 15 <= counts.median() <= 25
        assert counts.max() > 6 * counts.median()

    def test_popularity_has_a_head_and_a_tail(self, views: pl.DataFrame) -> None:
        counts = views.group_by("item_id").len()["len"].sort(descending=True)
        assert counts[:96].sum() > 2.5 * 0.1 * counts.sum()
        assert counts.len() > 0.9 * 960

    def test_users_keep_to_few_themes(self, views: pl.DataFrame) -> None:
        # Of 48 themes three pairs are wanted at a time; a user without interests would give about 0.2.
        shares = views.with_columns(pair=pl.col("theme") // 2).group_by("user_id", "pair").len()
        top = shares.group_by("user_id").agg(
            n=pl.col("len").sum(), kept=pl.col("len").top_k(3).sum() / pl.col("len").sum()
        )
        assert top.filter(pl.col("n") >= 20)["kept"].mean() > 0.7

    def test_paired_themes_please_the_same_users(self, views: pl.DataFrame) -> None:
        counts = views.group_by("user_id", "theme").len().pivot("theme", index="user_id", values="len")
        table = counts.fill_null(0).select(str(theme) for theme in range(48)).to_numpy() > 0
        together = np.corrcoef(table.T)
        partner = np.arange(48) ^ 1
        others = together[~(np.eye(48, dtype=bool) | np.eye(48, dtype=bool)[partner])]
        assert together[np.arange(48), partner].mean() > 0.4
        # Busy users see more of everything, so that others are not quite strangers.
        assert others.mean() < 0.1

    def test_a_view_often_continues_the_series_before_it(self, views: pl.DataFrame) -> None:
        before = pl.col("first") == pl.col("first").shift().over("user_id")
        assert views.select(before.mean()).item() > 0.05

    def test_strong_events_fall_on_what_fits(self) -> None:
        # Every user views one item that fits by 0.5 and one that fits by 1.5, and then the first once more.
        rows = 3 * 20_000
        user, item = np.divmod(np.arange(rows), 3)
        views = Views(user, user, np.arange(rows) % 3 == 0, 1000 * item)
        fit = np.where(item == 1, 1.5, 0.5)
        events = draw_events(np.random.default_rng(0), views, item % 2, fit)
        counts = {key: len(frame) for key, frame in events.group_by("event", "item")}
        assert counts[0, 0] == counts[0, 1] == 20_000
        # Clicks: 0.05 + 0.2 fit; purchases: 0.09 fit of the clicks.
        expected = {(1, 0): 0.15, (1, 1): 0.35, (5, 0): 0.15 * 0.045, (5, 1): 0.35 * 0.135}
        for key, share in expected.items():
            assert counts[key] / 20_000 == pytest.approx(share, abs=0.012 if key[0] == 1 else 0.004), key

    def test_new_releases_are_met_in_their_first_week(self, world: Path, views: pl.DataFrame) -> None:
        fresh = read_items(world).filter(pl.col("created_at") >= START + pl.duration(days=43))
        last = views.filter(pl.col("timestamp") >= START + pl.duration(days=53))
        # A thirtieth of the items takes more than its share of the last week's views.
        assert last.select(pl.col("item_id").is_in(fresh["id"].to_list()).mean()).item() > 0.04

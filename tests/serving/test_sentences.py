import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml
from worlds import make_items

from recsys.config import GenerationConfig, InteractionFiles
from recsys.errors import ConfigError
from recsys.ranking.reasons import KINDS, SIZES
from recsys.serving import sentences as module
from recsys.serving.sentences import LANGUAGES, Sentences
from recsys.serving.sentences.verbs import VERBS, list_verbs

ENGLISH = make_items(
    {"item_id": "a", "title": "Tea"}, {"item_id": "b", "title": "茶"}, {"item_id": "c", "title": "Pot"}
)
CHINESE = make_items(
    {"item_id": "a", "title": "绿茶 100g"}, {"item_id": "b", "title": "红茶"}, {"item_id": "c", "title": "12"}
)
JAPANESE = make_items({"item_id": "a", "title": "お茶の本"}, {"item_id": "b", "title": "抹茶アイス"})
TEXTS = ("title", "other", "verb", "value", "column", "date")
DETAILS = pl.Schema({**dict.fromkeys(TEXTS, pl.String), **dict.fromkeys(("count", "days", "before"), pl.Int32)})
FULL = {
    "title": "Tea",
    "other": "Pot",
    "verb": "bought",
    "value": "Ann",
    "column": "author",
    "date": "2025-03-01",
    "count": 21,
    "days": 30,
    "before": 4,
}


def load(items: pl.DataFrame = ENGLISH, **generation: str) -> Sentences:
    return Sentences.load(GenerationConfig(**generation), items)  # type: ignore[arg-type]


def write(sentences: Sentences, *rows: tuple[str, dict[str, object]]) -> list[str]:
    keys = list(dict.fromkeys(key for key, _ in rows))
    reasons = np.array([keys.index(key) for key, _ in rows], dtype=np.int16)
    return sentences.write(keys, reasons, pl.DataFrame([details for _, details in rows], schema=DETAILS)).to_list()


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_reason_and_verb_has_a_sentence_in_every_language(language: str) -> None:
    by_key = load(reason_language=language).by_key
    of_columns = {f"{role}_{size}" for role in ("by", "tag", "match") for size in SIZES}
    assert set(by_key) == {*KINDS, *of_columns, *(f"verb_{verb}" for verb in VERBS)}
    assert all(by_key.values())
    # Both languages speak of the same things.
    english = load(reason_language="en").by_key
    placeholders = re.compile(r"\{\w+\}")
    for key, text in by_key.items():
        assert {*placeholders.findall(text)} == {*placeholders.findall(english[key])}, key


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_placeholder_is_left(language: str) -> None:
    sentences = load(reason_language=language)
    keys = [key for key in sentences.by_key if not key.startswith("verb_")]
    written = write(sentences, *((f"{key} author" if "_" in key else key, FULL) for key in keys))
    assert not [text for text in written if "{" in text or "null" in text]
    assert len(set(written)) == len(keys)


@pytest.mark.parametrize(
    ("items", "language"), [(ENGLISH, "en"), (CHINESE, "zh"), (JAPANESE, "en"), (ENGLISH.clear(), "en")]
)
def test_the_catalogue_chooses_the_language(items: pl.DataFrame, language: str) -> None:
    assert load(items).by_key == load(reason_language=language).by_key
    assert load(items, reason_language="zh").by_key["catalogue"] == "来自目录"


def test_titles_and_columns_are_filled_in() -> None:
    rows: list[tuple[str, dict[str, object]]] = [
        ("near", {**FULL, "title": " Tea "}),
        ("near", {**FULL, "title": "{title} {0} 100%"}),
        ("popular", FULL),
        ("rising", FULL),
        ("by_many author", FULL),
        ("match_one category", {**FULL, "column": "category", "value": "food"}),
        ("popular_in", {**FULL, "column": "tags", "value": "green"}),
    ]
    assert write(load(), *rows) == [
        "Similar to “Tea”, which you bought",
        "Similar to “{title} {0} 100%”, which you bought",
        "21 people took an interest in the last 30 days",
        "Rising: 21 new people in the last 30 days, 4 in the 30 days before",
        "By Ann, like 21 others in your history",
        "The same category as “Tea”, which you bought (“food”)",
        "Top 10 by popularity for tag “green”, which is in your history",
    ]
    assert write(load(reason_language="zh"), rows[0], *rows[4:]) == [
        "与您购买过的“Tea”相似",
        "来自Ann，您的历史中还有其21项",
        "与您购买过的“Tea”的类别相同（“food”）",
        "标签为“green”的最受欢迎的10项之一，您的历史中有此标签",
    ]


def test_long_titles_are_cut() -> None:
    details = ({**FULL, "title": "茶" * length, "verb": "met"} for length in (80, 81))
    assert write(load(), *(("near", each) for each in details)) == [
        f"Similar to “{'茶' * 80}”, which you came across",
        f"Similar to “{'茶' * 80}…”, which you came across",
    ]


@pytest.mark.parametrize(
    ("weights", "verbs"),
    [
        ({"view": 1.0, "addToCart": 3.0, "purchase": 5.0}, ["viewed", "saved", "bought"]),
        # The weakest first, whatever the order of the config.
        ({"purchase": 5.0, "product_view": 1.0}, ["viewed", "bought"]),
        ({"浏览": 1.0, "购买": 2.0}, ["viewed", "bought"]),
        ({"interaction": 1.0, "rating": 2.0}, ["chose", "rated"]),
    ],
)
def test_verbs_of_event_kinds(weights: dict[str, float], verbs: list[str]) -> None:
    assert list_verbs(InteractionFiles(path="events.csv", event_weights=weights)) == verbs


def test_an_unknown_kind_that_is_not_predicted_is_no_choice() -> None:
    files = InteractionFiles(path="e.csv", event_weights={"ping": 1.0, "done": 2.0}, positive_events=("done",))
    assert list_verbs(files) == ["met", "chose"]


def test_a_file_of_ones_own_replaces_single_sentences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path))
    (tmp_path / "reasons.yaml").write_text("rare: Ein Geheimtipp\nnear: Weil Sie „{title}“ kennen\n", "utf-8")
    sentences = load(reason_sentences="reasons.yaml")
    assert write(sentences, ("rare", FULL), ("catalogue", FULL), ("near", {**FULL, "title": "Tee"})) == [
        "Ein Geheimtipp",
        "From the catalogue",
        "Weil Sie „Tee“ kennen",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        ("- popular", "expected a sentence for each reason key, such as 'catalogue: From our shelves'"),
        ("popular:", "expected a sentence for each reason key"),
        ("popular: [", "is not valid YAML"),
        ("popuar: Beliebt", "unknown reason popuar; known reasons are after, by_any, "),
        ("near: Weil Sie es kennen", r"the sentence of 'near' lacks \{title\}; found 'Weil Sie es kennen'"),
        ("by_many: wie andere", r"the sentence of 'by_many' lacks \{value\}"),
        ("rare: Nur {count}", r"the sentence of 'rare' has \{count\}; expected no placeholder; found 'Nur \{count\}'"),
        ("new: Seit {days}", r"the sentence of 'new' has \{days\}; expected \{date\}"),
    ],
)
def test_a_file_that_cannot_serve(
    content: str | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path))
    if content is not None:
        (tmp_path / "reasons.yaml").write_text(content)
    with pytest.raises(ConfigError, match=f"generation.reason_sentences .*reasons.yaml.*{message}"):
        load(reason_sentences="reasons.yaml")


def test_sentences_of_further_sources() -> None:
    declared = {"trending": {"en": "Trending", "zh": "上升中"}, "rare": {"en": "ignored: shipped sentences win"}}
    for language, expected in (("en", "Trending"), ("zh", "上升中")):
        sentences = Sentences.load(GenerationConfig(reason_language=language), ENGLISH, declared)  # type: ignore[arg-type]
        assert sentences.by_key["trending"] == expected
        assert sentences.by_key["rare"] == load(reason_language=language).by_key["rare"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_shipped_files_are_read_as_they_lie(language: str) -> None:
    path = Path(module.__file__).with_name(f"{language}.yaml")
    assert load(reason_language=language).by_key == yaml.safe_load(path.read_text("utf-8"))

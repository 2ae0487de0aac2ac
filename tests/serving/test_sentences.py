from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml
from worlds import make_items

from recsys.config import SOURCES, GenerationConfig
from recsys.errors import ConfigError
from recsys.serving import sentences as module
from recsys.serving.sentences import LANGUAGES, Sentences

ENGLISH = make_items(
    {"item_id": "a", "title": "Tea"}, {"item_id": "b", "title": "茶"}, {"item_id": "c", "title": "Pot"}
)
CHINESE = make_items(
    {"item_id": "a", "title": "绿茶 100g"}, {"item_id": "b", "title": "红茶"}, {"item_id": "c", "title": "12"}
)
JAPANESE = make_items({"item_id": "a", "title": "お茶の本"}, {"item_id": "b", "title": "抹茶アイス"})


def load(items: pl.DataFrame = ENGLISH, **generation: str) -> Sentences:
    return Sentences.load(GenerationConfig(**generation), items)  # type: ignore[arg-type]


def write(sentences: Sentences, *rows: tuple[str, str | None]) -> list[str]:
    keys = list(dict.fromkeys(key for key, _ in rows))
    reasons = np.array([keys.index(key) for key, _ in rows], dtype=np.int16)
    return sentences.write(keys, reasons, pl.Series([title for _, title in rows], dtype=pl.String)).to_list()


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_source_has_a_sentence_in_every_language(language: str) -> None:
    by_key = load(reason_language=language).by_key
    assert set(by_key) == {*SOURCES, "named_item", "match", "catalogue"}
    assert all(by_key.values())


@pytest.mark.parametrize(
    ("items", "language"), [(ENGLISH, "en"), (CHINESE, "zh"), (JAPANESE, "en"), (ENGLISH.clear(), "en")]
)
def test_the_catalogue_chooses_the_language(items: pl.DataFrame, language: str) -> None:
    assert load(items).by_key == load(reason_language=language).by_key
    assert load(items, reason_language="zh").by_key["popular"] == "近期热门"


def test_titles_and_columns_are_filled_in() -> None:
    rows = [("popular", None), ("text", " Tea "), ("match author", None), ("text", "  "), ("text", "{title} {0} 100%")]
    assert write(load(), *rows) == [
        "Popular right now",
        "Because you chose “Tea”",
        "Same author as others you chose",
        "Its description fits what you read lately",
        "Because you chose “{title} {0} 100%”",
    ]
    assert write(load(reason_language="zh"), *rows[:3]) == [
        "近期热门",
        "因为您选过“Tea”",
        "与您选过的其他内容“author”相同",
    ]


def test_long_titles_are_cut() -> None:
    assert write(load(), ("text", "茶" * 80), ("text", "茶" * 81)) == [
        f"Because you chose “{'茶' * 80}”",
        f"Because you chose “{'茶' * 80}…”",
    ]


def test_a_file_of_ones_own_replaces_single_sentences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path))
    (tmp_path / "reasons.yaml").write_text("popular: Gerade beliebt\nnamed_item: Weil Sie „{title}“ kennen\n", "utf-8")
    sentences = load(reason_sentences="reasons.yaml")
    assert write(sentences, ("popular", None), ("als", None), ("text", "Tee")) == [
        "Gerade beliebt",
        "People with your taste chose it",
        "Weil Sie „Tee“ kennen",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        ("- popular", "expected a sentence for each reason key, such as 'popular: Popular right now'"),
        ("popular:", "expected a sentence for each reason key"),
        ("popular: [", "is not valid YAML"),
        ("popuar: Beliebt", "unknown reason popuar; known reasons are als, "),
        ("named_item: Weil Sie es kennen", r"the sentence of 'named_item' lacks \{title\}; found 'Weil Sie es kennen'"),
        ("match: wie andere", r"the sentence of 'match' lacks \{column\}"),
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
    declared = {"trending": {"en": "Trending", "zh": "上升中"}, "popular": {"en": "ignored: shipped sentences win"}}
    for language, expected in (("en", "Trending"), ("zh", "上升中")):
        sentences = Sentences.load(GenerationConfig(reason_language=language), ENGLISH, declared)  # type: ignore[arg-type]
        assert sentences.by_key["trending"] == expected
        assert sentences.by_key["popular"] == load(reason_language=language).by_key["popular"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_shipped_files_are_read_as_they_lie(language: str) -> None:
    path = Path(module.__file__).with_name(f"{language}.yaml")
    assert load(reason_language=language).by_key == yaml.safe_load(path.read_text("utf-8"))

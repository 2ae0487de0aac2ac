"""Reason sentences: one table per language, chosen by the config or by the catalogue's script."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import polars as pl
import yaml
from numpy.typing import NDArray

from recsys.config import GenerationConfig, data_path
from recsys.config.yaml_text import parse_yaml
from recsys.errors import ConfigError

LANGUAGES = ("en", "zh")
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
# Without these a sentence would not name what it speaks of.
_NEEDED = ("title", "other", "value")
# Words of the names of columns -> which sentences speak of their values; the sentences of other columns name them.
_ROLES = {
    "by": frozenset(("author", "authors", "writer", "artist", "director", "creator", "developer", "composer")),
    "tag": frozenset(["tags"]),
}
_OTHER_COLUMNS = "match"
# Names of columns in sentences of a language; other columns have their own name.
_COLUMNS: Mapping[str, Mapping[str, str]] = {
    "en": {"tags": "tag"},
    "zh": {
        "author": "作者",
        "brand": "品牌",
        "category": "类别",
        "director": "导演",
        "genre": "类型",
        "language": "语言",
        "publisher": "出版社",
        "series": "系列",
        "system": "平台",
        "tags": "标签",
        "topic": "主题",
        "year": "年份",
    },
}
# Share of the items written in Han script from which a catalogue counts as Chinese.
_HAN_SHARE = 0.5
# Characters of a title or value that a reason shows.
_LENGTH = 80


@dataclass(frozen=True)
class Sentences:
    """The sentences of one language.

    Attributes:
        by_key: reason key -> sentence with placeholders; `verb_NAME` -> verb.
        columns: name of a column of the items -> how sentences call it; other columns have their own name.
    """

    by_key: Mapping[str, str]
    columns: Mapping[str, str]

    @classmethod
    def load(
        cls, generation: GenerationConfig, items: pl.DataFrame, declared: Mapping[str, Mapping[str, str]] | None = None
    ) -> Sentences:
        """Load the sentences that a config asks for.

        Args:
            generation: `reason_language` names a shipped language, or `auto` for the catalogue's; the table in
                `reason_sentences` replaces sentences by key.
            items: `Items`, whose script decides for `auto`.
            declared: sentences of other reason keys by language, as plug-in sources declare them.

        Raises:
            ConfigError: the user's table cannot be read, or a sentence has other placeholders than the shipped one.
        """
        language = generation.reason_language
        if language == "auto":
            language = "zh" if _is_chinese(items) else "en"
        sentences = _read_shipped(language)
        for key, texts in (declared or {}).items():
            sentences.setdefault(key, texts.get(language) or texts.get("en") or next(iter(texts.values()), key))
        if generation.reason_sentences:
            sentences |= _read_own(data_path(generation.reason_sentences), sentences)
        return cls(sentences, _COLUMNS[language])

    def write(self, keys: Sequence[str], reasons: NDArray[np.int16], details: pl.DataFrame) -> pl.Series:
        """Return the sentence of each row.

        Args:
            keys: reason keys; `ROLE_one COLUMN` and `ROLE_many COLUMN` speak of that column.
            reasons: (n_rows) int16, index into the keys.
            details: (n_rows) what fills the placeholders, by their names: `title`, `other`, `value`, `count`, `days`,
                `before`, `date`; `verb` holds keys of verbs, and `column` names of columns.
        """
        verbs = {key.removeprefix("verb_"): text for key, text in self.by_key.items() if key.startswith("verb_")}
        filled = details.select(
            *(_shorten(name) for name in ("title", "other", "value")),
            *(pl.col(name).cast(pl.String).fill_null("") for name in ("count", "days", "before", "date")),
            pl.col("verb").replace(verbs).fill_null(""),
            pl.col("column").replace(dict(self.columns)).fill_null(""),
        )
        rows, texts = [np.zeros(0, dtype=np.int64)], [pl.Series([], dtype=pl.String)]
        for index in np.unique(reasons):
            own = np.flatnonzero(reasons == index)
            rows.append(own)
            texts.append(self._fill(keys[index].partition(" ")[0], filled[own]))
        return pl.concat(texts).gather(np.argsort(np.concatenate(rows), kind="stable"))

    def _fill(self, key: str, details: pl.DataFrame) -> pl.Series:
        """Return the sentence of a key for each row; texts are concatenated, so braces in a title are kept."""
        parts = _PLACEHOLDER.split(self.by_key.get(key, key))
        texts = [pl.col(part) if number % 2 else pl.lit(part) for number, part in enumerate(parts)]
        return details.with_columns(sentence=pl.concat_str(texts))["sentence"]


def name_role(column: str) -> str:
    """Return the first part of the keys whose sentences speak of a column: `by`, `tag` or `match`."""
    words = set(column.lower().replace("-", "_").split("_"))
    return next((role for role, names in _ROLES.items() if words & names), _OTHER_COLUMNS)


def _shorten(name: str) -> pl.Expr:
    text = pl.col(name).str.strip_chars()
    cut = text.str.slice(0, _LENGTH)
    return pl.when(text.str.len_chars() > _LENGTH).then(cut + "…").otherwise(cut).fill_null("").alias(name)


def _read_shipped(language: str) -> dict[str, str]:
    text = resources.files(__name__).joinpath(f"{language}.yaml").read_text(encoding="utf-8")
    content: dict[str, str] = parse_yaml(text)
    return content


SHIPPED = frozenset(_read_shipped(LANGUAGES[0]))


def _read_own(path: Path, known: Mapping[str, str]) -> dict[str, str]:
    """Read a user's table: YAML, reason key -> sentence."""
    what = f"generation.reason_sentences {path}"
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{what}: cannot be read ({error}); give a YAML file of reason key: sentence") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{what}: is not valid YAML ({error}); fix that line") from error
    if not isinstance(content, dict) or not all(isinstance(text, str) and text for text in content.values()):
        raise ConfigError(f"{what}: expected a sentence for each reason key, such as 'catalogue: From our shelves'")
    if unknown := sorted(str(key) for key in content if key not in known):
        raise ConfigError(f"{what}: unknown reason {', '.join(unknown)}; known reasons are {', '.join(sorted(known))}")
    for key, text in content.items():
        _check_placeholders(what, key, text, known[key])
    return content


def _check_placeholders(what: str, key: str, text: str, shipped: str) -> None:
    """Refuse a sentence that names less than the shipped one, or asks for what its reason does not know."""
    given, allowed = set(_PLACEHOLDER.findall(text)), _PLACEHOLDER.findall(shipped)
    if lacking := [name for name in allowed if name in _NEEDED and name not in given]:
        raise ConfigError(f"{what}: the sentence of '{key}' lacks {{{lacking[0]}}}; found '{text}'")
    if unknown := sorted(given - set(allowed)):
        known = ", ".join(f"{{{name}}}" for name in allowed) or "no placeholder"
        raise ConfigError(f"{what}: the sentence of '{key}' has {{{unknown[0]}}}; expected {known}; found '{text}'")


def _is_chinese(items: pl.DataFrame) -> bool:
    """Return whether most titles that hold any letter are written in Han script."""
    titles = items["title"]
    han, kana, letters = (
        titles.str.count_matches(pattern) for pattern in (r"\p{Han}", r"[\p{Hiragana}\p{Katakana}]", r"\p{L}")
    )
    written = letters > 0
    chinese = ((han * 2 > letters) & (kana == 0)).filter(written)
    return bool(len(chinese)) and float(chinese.mean() or 0.0) > _HAN_SHARE  # type: ignore[arg-type]

"""Reason sentences: one table per language, chosen by the config or by the catalogue's script."""

from __future__ import annotations

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

NAMED_ITEM, MATCH = "named_item", "match"
LANGUAGES = ("en", "zh")
# Placeholders that a sentence may hold, by its key; other sentences hold none.
_PLACEHOLDERS = {NAMED_ITEM: "{title}", MATCH: "{column}"}
# Share of the items written in Han script from which a catalogue counts as Chinese.
_HAN_SHARE = 0.5
# Characters of a title that a reason shows.
_TITLE_LENGTH = 80


@dataclass(frozen=True)
class Sentences:
    """The sentences of one language.

    Attributes:
        by_key: reason key -> sentence; `named_item` holds `{title}`, `match` holds `{column}`.
    """

    by_key: Mapping[str, str]

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
            ConfigError: the user's table cannot be read, or a sentence lacks its placeholder.
        """
        language = generation.reason_language
        if language == "auto":
            language = "zh" if _is_chinese(items) else "en"
        sentences = _read_shipped(language)
        for key, texts in (declared or {}).items():
            sentences.setdefault(key, texts.get(language) or texts.get("en") or next(iter(texts.values()), key))
        if generation.reason_sentences:
            sentences |= _read_own(data_path(generation.reason_sentences), sentences)
        return cls(sentences)

    def write(self, keys: Sequence[str], reasons: NDArray[np.int16], titles: pl.Series) -> pl.Series:
        """Return the sentence of each row.

        Args:
            keys: reason keys; `match COLUMN` fills that column's name in.
            reasons: (n_rows) int16, index into the keys.
            titles: (n_rows) titles of the items that the reasons name; null or blank where a reason names no item.
        """
        plain = pl.Series([self._write_key(key) for key in keys], dtype=pl.String).gather(reasons)
        stripped = titles.str.strip_chars()
        cut = stripped.str.slice(0, _TITLE_LENGTH) + pl.Series(
            np.where((stripped.str.len_chars() > _TITLE_LENGTH).fill_null(False), "…", "")
        )
        before, _, after = self.by_key[NAMED_ITEM].partition("{title}")
        # Titles are concatenated, not formatted, so braces in a title are kept.
        return (before + cut + after).zip_with((stripped != "").fill_null(False), plain)

    def _write_key(self, key: str) -> str:
        name, _, column = key.partition(" ")
        if name == MATCH and column:
            return self.by_key[MATCH].replace("{column}", column)
        return self.by_key.get(key, key)


def _read_shipped(language: str) -> dict[str, str]:
    text = resources.files(__name__).joinpath(f"{language}.yaml").read_text(encoding="utf-8")
    content: dict[str, str] = parse_yaml(text)
    return content


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
        raise ConfigError(f"{what}: expected a sentence for each reason key, such as 'popular: Popular right now'")
    if unknown := sorted(str(key) for key in content if key not in known):
        raise ConfigError(f"{what}: unknown reason {', '.join(unknown)}; known reasons are {', '.join(sorted(known))}")
    for key, placeholder in _PLACEHOLDERS.items():
        if key in content and placeholder not in content[key]:
            raise ConfigError(f"{what}: the sentence of '{key}' lacks {placeholder}; found '{content[key]}'")
    return content


def _is_chinese(items: pl.DataFrame) -> bool:
    """Return whether most titles that hold any letter are written in Han script."""
    titles = items["title"]
    han, kana, letters = (
        titles.str.count_matches(pattern) for pattern in (r"\p{Han}", r"[\p{Hiragana}\p{Katakana}]", r"\p{L}")
    )
    written = letters > 0
    chinese = ((han * 2 > letters) & (kana == 0)).filter(written)
    return bool(len(chinese)) and float(chinese.mean() or 0.0) > _HAN_SHARE  # type: ignore[arg-type]

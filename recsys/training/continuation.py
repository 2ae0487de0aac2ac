"""Whether a training can continue from an earlier one, without a leak and with the same settings."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from recsys.config import AUTO, Config
from recsys.dataset.item_vectors import name_vectors
from recsys.dataset.windows import Fold
from recsys.errors import ConfigError, DataError
from recsys.progress import format_count
from recsys.serving.bundle import Bundle

# Of a catalogue's texts, the least share that the earlier training must have read.
_MIN_KNOWN_TEXTS = 0.1
# Settings of the text models that may change: every training uses them from the start.
_FREE = ("text.tfidf.", "text.batch_tokens", "text.sequence.use")
_SCRATCH = "train without --from"


def check_continuation(config: Config, items: pl.DataFrame, fold: Fold, earlier: Bundle, name: str) -> None:
    """Refuse to continue where the models would have seen a label window, or would not be the configured ones.

    Args:
        config: of the later training.
        items: `Items` of today.
        fold: of the later training's evaluation model.
        earlier: the evaluation model that it would continue from.
        name: of the earlier version, for messages, such as `champion version 3`.

    Raises:
        ConfigError: the protocol has no common clock, settings of the text models differ, or the earlier version has no
            starting point.
        DataError: the earlier models have seen a label window, know too few of the catalogue's texts, or have learned
            from other vectors.
    """
    oldest = fold.labels[-1].cutoff
    if oldest is None:
        raise ConfigError(
            f"continuing from {name}: windows.protocol is {config.windows.protocol}, expected global_time, with which "
            f"no model can have seen the new windows; {_SCRATCH}"
        )
    if earlier.start is None:
        raise ConfigError(
            f"continuing from {name}: it has no models to start from, because an older version of recsys trained it or "
            f"its data had no times; {_SCRATCH}"
        )
    if changes := _list_changes(config, earlier.config):
        raise ConfigError(
            f"continuing from {name}: settings of the text models differ: {'; '.join(changes)}; set them back, or "
            f"{_SCRATCH}"
        )
    if earlier.start.cutoff > oldest:
        raise DataError(
            f"continuing from {name}: its models have seen events until {earlier.start.cutoff.isoformat()}, after the "
            f"start of the oldest label window at {oldest.isoformat()}; choose a later --run-date, or {_SCRATCH}"
        )
    if earlier.vector_lengths != name_vectors(items):
        raise DataError(
            f"continuing from {name}: it was trained with {_list_vectors(earlier.vector_lengths)}, found "
            f"{_list_vectors(name_vectors(items))}; set dataset.items.vectors back and ingest again, or {_SCRATCH}"
        )
    texts = earlier.make_item_texts(items)
    known = len(texts) - len(earlier.find_new_texts(texts))
    if known < _MIN_KNOWN_TEXTS * len(texts):
        raise DataError(
            f"continuing from {name}: it knows {known:,} of the catalogue's {format_count(len(texts), 'text')}, "
            f"expected at least {_MIN_KNOWN_TEXTS:.0%}; this looks like another catalogue or language: {_SCRATCH}"
        )


def _list_changes(config: Config, earlier: Config) -> list[str]:
    """Return the settings of the text models that differ, with both values."""
    before = dict(earlier.flatten())
    changes = []
    for path, value in config.flatten():
        fixed = path.startswith("text.") and not path.startswith(_FREE)
        # A measured value is no change of the setting.
        if fixed and value not in (AUTO, before.get(path)):
            changes.append(f"{path} is {_show(value)}, there {_show(before.get(path))}")
    return changes


def _list_vectors(lengths: Mapping[str, int]) -> str:
    named = [f"vectors '{name}' of {format_count(length, 'number')}" for name, length in lengths.items()]
    return ", ".join(named) or "no vectors"


def _show(value: object) -> str:
    return "not set" if value is None else str(value)

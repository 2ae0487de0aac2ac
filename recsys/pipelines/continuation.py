"""The version that `recsys train --from` continues from, and when a full training is due instead."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from recsys.config import Config
from recsys.dataset.windows import Fold
from recsys.monitoring.monitored_nights import read_nights
from recsys.progress import format_count, logger
from recsys.registry.tracking import Store
from recsys.registry.versions import EVALUATION_MODEL, Version, find_version, need_version, open_bundle
from recsys.serving.bundle import Bundle
from recsys.training.continuation import check_continuation

# Tags of a version: how many trainings have continued since the last full one, and the version before.
CONTINUED = "continued"
CONTINUED_FROM = "continued_from"


@dataclass(frozen=True)
class Continuation:
    """What a training continues from.

    Attributes:
        version: the registered version.
        evaluated: its evaluation model.
        number: of trainings that have continued since the last full one, this one included.
    """

    version: Version
    evaluated: Bundle
    number: int

    @property
    def tags(self) -> dict[str, str]:
        """Facts of the run and of the version that it makes."""
        return {CONTINUED: str(self.number), CONTINUED_FROM: self.version.number}


def find_continuation(
    config: Config, home: Path, store: Store, alias: str, fold: Fold, items: pl.DataFrame
) -> Continuation | None:
    """Return what a training continues from; None, with a log line that says why, where it has to be a full one.

    Args:
        config: of the training.
        home: has the monitored nights.
        store: has the versions.
        alias: of the version to continue from.
        fold: of the training's evaluation model.
        items: `Items` of today.

    Raises:
        RegistryError: the version cannot be fetched.
        ConfigError: the version's text models are other ones than the config's.
        DataError: its models have seen a label window, or belong to another catalogue.
    """
    if find_version(store, config.model_name, alias) is None:
        logger.warning("training from scratch: model '%s' has no version with the alias '%s'", config.model_name, alias)
        return None
    version = need_version(store, config.model_name, alias, "train without --from")
    number = int(version.tags.get(CONTINUED, "0")) + 1
    if reason := _find_reason_for_full(config, home, version, number):
        logger.info("training from scratch: %s", reason)
        return None
    name = f"{alias} version {version.number}"
    with open_bundle(store, version, EVALUATION_MODEL) as folder:
        evaluated = Bundle.load(folder)
    check_continuation(config, items, fold, evaluated, name)
    logger.info("continuing from %s, training %d since the last full one", name, number)
    return Continuation(version, evaluated, number)


def _find_reason_for_full(config: Config, home: Path, version: Version, number: int) -> str:
    """Return why a full training is due; empty if it is not."""
    settings = config.continuation
    if number >= settings.full_every:
        return f"{format_count(number - 1, 'training')} continued since the last full one (continuation.full_every)"
    if not settings.full_if_monitor_asks:
        return ""
    nights = read_nights(home, config.name)
    last = nights[-1] if nights else None
    if last and last.retrain and not last.accepted and last.model_version == version.number:
        return f"the monitored night {last.run_date} recommends it (continuation.full_if_monitor_asks)"
    return ""

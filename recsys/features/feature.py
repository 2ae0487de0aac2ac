"""Plug-in features: the class that they extend, and checks of what they return."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from recsys.candidates.merge import CandidateRows
from recsys.config import Config, Section
from recsys.config.plugins import demand_plugin, read_settings
from recsys.dataset.histories import Histories
from recsys.errors import ConfigError, DataError

if TYPE_CHECKING:
    from recsys.features.item_facts import ItemFacts


class CandidateFeature(ABC):
    """Feature columns of a plug-in; made with its settings.

    Attributes:
        name: under `ranking.extra_features`; lower case.
        section: validates the settings given there.
    """

    name: str
    section: ClassVar[type[Section]] = Section

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    @abstractmethod
    def names(self) -> dict[str, str]:
        """Return the columns in order, each with a sentence of meaning."""

    @abstractmethod
    def describe(self, rows: CandidateRows, histories: Histories, facts: ItemFacts) -> dict[str, NDArray[np.float32]]:
        """Return (n_rows) float32 of each column, NaN where a value is missing.

        A row's values depend on the user's own candidates and history and on the facts alone, and on no event after
        the cutoff of the histories.

        Args:
            rows: candidates of a block of users.
            histories: of these users, as of the cutoff.
            facts: of the catalogue, as of the same cutoff; `facts.items` are its rows.
        """


def make_features_of_plugins(config: Config) -> list[CandidateFeature]:
    """Return the features under `ranking.extra_features`, by name.

    Raises:
        ConfigError: a class is not a `CandidateFeature`.
    """
    features: list[CandidateFeature] = []
    for name, options in sorted(config.ranking.extra_features.items()):
        target = demand_plugin("feature", name).target
        if not issubclass(target, CandidateFeature):
            raise ConfigError(
                f"feature '{name}': {target.__module__}.{target.__qualname__} is not a subclass of "
                "recsys.features.feature.CandidateFeature; make it a subclass"
            )
        features.append(target(read_settings("feature", name, options)))
    return features


def declare_extra(features: Sequence[CandidateFeature], taken: Mapping[str, str]) -> dict[str, str]:
    """Return the columns of plug-in features, each with its sentence.

    Args:
        features: in order.
        taken: columns that there are already.

    Raises:
        ConfigError: two features have a column of the same name.
    """
    declared: dict[str, str] = {}
    for feature in features:
        names = feature.names()
        if clashing := sorted(set(names) & ({*taken} | {*declared})):
            raise ConfigError(
                f"feature '{feature.name}': there is already a column {', '.join(map(repr, clashing))}; rename it"
            )
        declared |= names
    return declared


def describe_extra(
    features: Sequence[CandidateFeature], rows: CandidateRows, histories: Histories, facts: ItemFacts
) -> dict[str, NDArray[np.float32]]:
    """Return the columns of plug-in features.

    Raises:
        DataError: a feature breaks the contract; names it, what it returned and what is expected.
    """
    columns: dict[str, NDArray[np.float32]] = {}
    for feature in features:
        columns |= _check(feature, feature.describe(rows, histories, facts), len(rows.items))
    return columns


def _check(feature: CandidateFeature, columns: Any, n_rows: int) -> dict[str, NDArray[np.float32]]:
    where, names = f"feature '{feature.name}'", list(feature.names())
    if not isinstance(columns, dict) or set(columns) != set(names):
        described = sorted(columns) if isinstance(columns, dict) else type(columns).__name__
        raise DataError(f"{where}: describe returned {described}; expected the columns {sorted(names)}")
    for name, column in columns.items():
        if not isinstance(column, np.ndarray) or column.dtype != np.float32 or column.shape != (n_rows,):
            found = (
                f"{column.dtype} of shape {column.shape}"
                if isinstance(column, np.ndarray)
                else f"a {type(column).__name__}"
            )
            raise DataError(f"{where}: column '{name}' is {found}; expected float32 of shape ({n_rows},), one per row")
        if np.isinf(column).any():
            raise DataError(f"{where}: column '{name}' has infinite values; expected finite ones, NaN where missing")
    return columns

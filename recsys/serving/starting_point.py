"""Where a later training can continue: models as of a training's oldest label window."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl

from recsys.candidates.models import CandidateModels
from recsys.config import Config
from recsys.text.interest import InterestModel

_FOLDER = "start"
# Each is also the name of its section below `text`.
_INTEREST_MODELS = ("interest", "sequence")


@dataclass(frozen=True)
class StartingPoint:
    """The models of an evaluation model as of its oldest label window.

    They have seen less than any other model of the training, so a later training whose label windows all begin at or
    after the cutoff can continue from them without a leak.

    Attributes:
        cutoff: the models have not seen this instant or later.
        models: name, `interest` or `sequence` -> trained model; one that the training did not use is missing.
        candidate_models: those of the other models that training can continue from, such as ALS; none in a bundle that
            an older version of recsys wrote.
    """

    cutoff: datetime
    models: Mapping[str, InterestModel]
    candidate_models: CandidateModels

    def save(self, folder: Path) -> None:
        """Write the models into a folder of their own below the bundle's."""
        (folder / _FOLDER).mkdir()
        for name, model in self.models.items():
            model.save(_find_file(folder, name))
        self.candidate_models.save(folder / _FOLDER)

    @classmethod
    def load(
        cls, folder: Path, item_ids: pl.Series, config: Config, cutoff: datetime, names: Collection[str]
    ) -> StartingPoint:
        """Read what `save` wrote.

        Args:
            folder: of the bundle.
            item_ids: (n_items) strings, the catalogue at training.
            config: of the training.
            cutoff: kept by the bundle.
            names: of the candidate models; kept by the bundle.
        """
        models = {
            name: InterestModel.load(_find_file(folder, name), item_ids, getattr(config.text, name))
            for name in _INTEREST_MODELS
            if _find_file(folder, name).is_file()
        }
        return cls(cutoff, models, CandidateModels.load(folder / _FOLDER, item_ids, config, names))


def _find_file(folder: Path, name: str) -> Path:
    return folder / _FOLDER / f"{name}.safetensors"

"""The baselines: every source measured alone, the text source in steps, and those of plug-ins."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys.candidates.registry import ALWAYS_MEASURED, make_source
from recsys.candidates.source import CandidateSource, Source, SourceInputs
from recsys.candidates.sources.text import ProfileSource
from recsys.config.plugins import demand_plugin
from recsys.errors import ConfigError
from recsys.serving.bundle import Bundle
from recsys.serving.recommender import Recommender


def make_baselines(bundle: Bundle, recommender: Recommender, zero_shot: NDArray[np.float32] | None) -> list[Source]:
    """Return the sources that are measured alone, in the order of the tables.

    Args:
        bundle: the measured bundle.
        recommender: of the bundle, over the window's catalogue.
        zero_shot: (n_items, embedding_size) float32 by the pretrained checkpoint; None omits that baseline. Where the
            checkpoint serves as it is, there is no fine-tuned one.

    Raises:
        ConfigError: a plug-in baseline is not a `CandidateSource`, or has a name that is taken.
    """
    config = bundle.config.candidates
    # Not a baseline: this source scores new items only.
    without = {"new_items"}
    # EASE is empty where the catalogue is too large for it.
    if not recommender.candidate_models["ease"].similarity.nnz:
        without.add("ease")
    names = dict.fromkeys([*ALWAYS_MEASURED, *config.depths, "popular_all_time"])
    baselines = recommender.make_sources([name for name in names if name not in without])
    # The text source in steps: the pretrained checkpoint, fine-tuned, and (`text`) with the interest model on top.
    interest = bundle.config.text.interest
    if zero_shot is None or not np.array_equal(zero_shot, recommender.embeddings):
        baselines.append(ProfileSource("text_fine_tuned", recommender.embeddings, interest))
    if zero_shot is not None:
        baselines.append(ProfileSource("text_zero_shot", zero_shot, interest))
    return baselines + _make_plugins(bundle, recommender, {baseline.name for baseline in baselines})


def _make_plugins(bundle: Bundle, recommender: Recommender, taken: set[str]) -> list[Source]:
    """Return the baselines under `evaluation.extra_baselines`, by name; their scores are checked like a source's."""
    options = bundle.config.evaluation.extra_baselines
    inputs = SourceInputs(
        bundle.config.candidates.model_copy(update={"options": options}),
        recommender.items,
        recommender.statistics,
        recommender.embeddings,
        recommender.candidate_models.models,
    )
    made: list[Source] = []
    for name in sorted(options):
        target = demand_plugin("baseline", name).target
        if name in taken or not issubclass(target, CandidateSource):
            problem = "a baseline with this name already exists" if name in taken else "it is not a CandidateSource"
            raise ConfigError(f"baseline '{name}' of {target.__module__}.{target.__qualname__}: {problem}; change it")
        made.append(make_source(target, inputs))
    return made

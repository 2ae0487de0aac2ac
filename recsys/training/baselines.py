"""The baselines that keep us honest: every source alone, and some that are never anything else."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys.candidates.sources import ProfileSource, Source
from recsys.serving.bundle import Bundle
from recsys.serving.recommender import Recommender

# Measured whatever the config's sources are.
_ALWAYS = ("popular", "item_to_item", "ease", "als", "tfidf", "text")


def make_baselines(bundle: Bundle, recommender: Recommender, zero_shot: NDArray[np.float32] | None) -> list[Source]:
    """Return what is measured alone beside our lists, in the order that tables show it.

    Args:
        bundle: whose parts are taken apart.
        recommender: over the window's catalogue.
        zero_shot: (n_items, embedding_size) float32 by the checkpoint as it came; None leaves that baseline out.
    """
    config = bundle.config.candidates
    # New items alone are no rival: by design the source says nothing about all others.
    without = {"new_items"}
    # Where the catalogue is too large for EASE there is nothing to measure.
    if not recommender.candidate_models.ease.similarity.nnz:
        without.add("ease")
    names = dict.fromkeys([*_ALWAYS, *config.depths, "popular_all_time"])
    baselines = recommender.make_sources([name for name in names if name not in without])
    # The text source in steps: the checkpoint as it came, fine-tuned, and (`text`) with the interest model on top.
    interest = bundle.config.text.interest
    baselines.append(ProfileSource("text_fine_tuned", recommender.embeddings, interest))
    if zero_shot is not None:
        baselines.append(ProfileSource("text_zero_shot", zero_shot, interest))
    return baselines

"""Functions for notebooks: windows and histories, intervals and paired differences, and tables turned into sentences.

Everything here is defined in a package below and only gathered for `from recsys import analysis`. A name belongs here
once a notebook uses it.
"""

from recsys.dataset.histories import build_histories, find_recommendable
from recsys.dataset.windows import resolve_end
from recsys.evaluation.answers import (
    describe_cold_items,
    describe_data,
    describe_neighbours,
    describe_new_users,
    describe_text_steps,
)
from recsys.evaluation.candidate_ledger import OUTCOMES, describe_losses
from recsys.evaluation.comparison import OURS, summarise
from recsys.evaluation.embedding_neighbors import find_nearest, project_to_plane
from recsys.evaluation.source_recall import compute_source_recall, count_outcomes
from recsys.evaluation.summaries import (
    describe_gain,
    describe_segments,
    find_best_baseline,
    format_mean,
)
from recsys.text.item_text import make_texts
from recsys.training.splitting import split_snapshot

__all__ = [
    "OURS",
    "OUTCOMES",
    "build_histories",
    "compute_source_recall",
    "count_outcomes",
    "describe_cold_items",
    "describe_data",
    "describe_gain",
    "describe_losses",
    "describe_neighbours",
    "describe_new_users",
    "describe_segments",
    "describe_text_steps",
    "find_best_baseline",
    "find_nearest",
    "find_recommendable",
    "format_mean",
    "make_texts",
    "project_to_plane",
    "resolve_end",
    "split_snapshot",
    "summarise",
]

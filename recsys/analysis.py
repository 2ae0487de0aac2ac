"""Functions for notebooks: windows and histories, intervals and paired differences, and tables turned into sentences.

Everything here is defined in a package below and only gathered for `from recsys import analysis`. A name comes here
once a notebook uses it, and stays for the notebooks of users.
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
from recsys.evaluation.candidate_ledger import OUTCOMES, UNION, describe_losses
from recsys.evaluation.comparison import OURS, summarise
from recsys.evaluation.embedding_neighbors import find_nearest, project_to_plane
from recsys.evaluation.intervals import compare_paired, mean_interval
from recsys.evaluation.source_recall import compute_source_recall, count_outcomes
from recsys.evaluation.summaries import (
    describe_gain,
    describe_segments,
    describe_verdict,
    find_best_baseline,
    format_difference,
    format_mean,
    select_row,
)
from recsys.text.item_text import make_texts
from recsys.training.splitting import split_snapshot

__all__ = [
    "OURS",
    "OUTCOMES",
    "UNION",
    "build_histories",
    "compare_paired",
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
    "describe_verdict",
    "find_best_baseline",
    "find_nearest",
    "find_recommendable",
    "format_difference",
    "format_mean",
    "make_texts",
    "mean_interval",
    "project_to_plane",
    "resolve_end",
    "select_row",
    "split_snapshot",
    "summarise",
]

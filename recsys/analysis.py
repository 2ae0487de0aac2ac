"""Functions for notebooks: windows and histories, intervals and paired differences, and tables turned into sentences.

Everything here is defined in a package below and only gathered for `from recsys import analysis`. A name belongs here
once a notebook uses it.
"""

from recsys.dataset.histories import build_histories, find_recommendable
from recsys.dataset.windows import resolve_end
from recsys.evaluation.candidate_ledger import OUTCOMES, UNION, describe_losses
from recsys.evaluation.comparison import OURS, summarise
from recsys.evaluation.embedding_neighbors import find_nearest, project_to_plane
from recsys.evaluation.intervals import compare_paired, mean_interval
from recsys.evaluation.source_recall import count_outcomes, measure_found
from recsys.evaluation.summaries import find_row, judge, tell_difference, tell_mean, tell_segments
from recsys.text.encoder import Encoder
from recsys.text.item_text import make_texts
from recsys.training.splitting import split_snapshot

__all__ = [
    "OURS",
    "OUTCOMES",
    "UNION",
    "Encoder",
    "build_histories",
    "compare_paired",
    "count_outcomes",
    "describe_losses",
    "find_nearest",
    "find_recommendable",
    "find_row",
    "judge",
    "make_texts",
    "mean_interval",
    "measure_found",
    "project_to_plane",
    "resolve_end",
    "split_snapshot",
    "summarise",
    "tell_difference",
    "tell_mean",
    "tell_segments",
]

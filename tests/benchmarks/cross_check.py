"""Our metrics beside those of five libraries, per user, on the same ml100k lists.

By hand, from the project's root (a minute or two):

    RECSYS_DATA=/where/the/sets/lie python tests/benchmarks/cross_check.py

The extra `dev` brings scikit-learn, torchmetrics and pytrec-eval-terrier; `pip install ir-measures ranx` adds the
other two. A library that is not installed is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys.candidates.exclusions import Exclusions
from recsys.candidates.neighbour_source import NeighbourSource
from recsys.candidates.scores import DenseScores
from recsys.collab.neighbours import fit_item_to_item
from recsys.config import Config, load_config
from recsys.dataset.histories import Histories, build_histories
from recsys.dataset.ingestion import ingest
from recsys.dataset.windows import split_windows
from recsys.evaluation.metrics import METRICS, Counts, Values, count_positives, find_hits
from recsys.evaluation.tied_ranks import TiedRanks, rank_positives
from recsys.ranking.lists import rank_candidates

CONFIG = Path(__file__).parents[2] / "configs" / "ml100k.yaml"
DEPTH = 20
N_VALUES = (5, 10, 20)

Lists = NDArray[np.int32]
Scores = NDArray[np.float32]
# User -> item -> score, and user -> item -> 1, as the libraries of information retrieval want them.
Run = dict[str, dict[str, float]]
Wanted = dict[str, dict[str, int]]


# --- the lists ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class World:
    """Users with several positives each, and what simple models show them.

    Attributes:
        positives: `(n_users, n_items)` uint8, what each user liked among the pairs held out.
        scores: per model `(n_users, n_items)` float32, NaN where it says nothing or the user has the item.
    """

    positives: csr_array
    scores: dict[str, Scores]

    def lists(self, model: str) -> Lists:
        """Return `(n_users, DEPTH)` item numbers, equal scores to the smaller number."""
        scores = DenseScores.from_array(self.scores[model])
        n_users, n_items = self.scores[model].shape
        return scores.find_top(DEPTH, Exclusions.none(n_users, n_items))


def make_world(config: Config) -> World:
    """Hold out a fifth of the ml100k pairs at random; those rated 4 or 5 are the positives.

    One positive per user, as when the last item is left out, would hide most differences between definitions.
    """
    liked = config.dataset.interactions.model_copy(update={"positive_value": 4.0})
    dataset = config.dataset.model_copy(update={"interactions": liked})
    ingested = ingest(dataset, now=datetime(2000, 1, 1, tzinfo=UTC))
    random = config.windows.model_copy(update={"protocol": "random", "holdout_share": 0.2})
    test = split_windows(ingested.interactions, random, repeats=False, end=None, seed=config.seed).test
    everyone = build_histories(test.history, ingested.items, None)
    known = test.positives.filter(pl.col("user_id").is_in(everyone.user_ids.implode()))
    users = everyone.take(known["user_id"])
    pairs = users.number_pairs(known.select("user_id", "item_id"))
    at = (pairs["user_index"].to_numpy(), pairs["item_index"].to_numpy())
    positives = csr_array((np.ones(pairs.height, dtype=np.uint8), at), shape=(users.n_users, users.n_items))
    return World(positives, _score(config, everyone, users))


def _score(config: Config, everyone: Histories, users: Histories) -> dict[str, Scores]:
    shape = (users.n_users, users.n_items)
    popularity = np.bincount(everyone.items, minlength=users.n_items).astype(np.float32)
    neighbours = fit_item_to_item(everyone, config.collab.item_to_item, threads=1)
    scores = {
        "popular": np.tile(popularity, (users.n_users, 1)),
        # In steps of 25 users: most places of a list are tied.
        "popular in steps": np.tile(popularity // 25, (users.n_users, 1)),
        "item_to_item": NeighbourSource("item_to_item", "", neighbours).score(users).to_array(),
        "random": np.random.default_rng(config.seed).random(shape, dtype=np.float32),
    }
    for values in scores.values():
        values[users.users[users.consumed], users.items[users.consumed]] = np.nan
    return scores


# --- the libraries: lists and positives in, a value per user out -----------------------------------------------


def name_user(user: int) -> str:
    """Return an id that sorts as the number does."""
    return f"u{user:06d}"


def nest_positives(positives: csr_array) -> Wanted:
    """Return user -> item -> 1."""
    rows = np.split(positives.indices, positives.indptr[1:-1])
    return {name_user(user): {str(item): 1 for item in items} for user, items in enumerate(rows)}


def nest_lists(lists: Lists) -> Run:
    """Return user -> item -> score, falling with the place, so that no library can sort otherwise."""
    length = lists.shape[1]
    return {
        name_user(user): {str(item): float(length - place) for place, item in enumerate(row) if item >= 0}
        for user, row in enumerate(lists)
    }


def spread(lists: Lists, positives: csr_array) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return scores and positives over the whole catalogue, for libraries that know no lists.

    What no list holds scores 0. An empty place of a list is held by an item that nobody took, in a column to the right.
    """
    (n_users, n_items), length = positives.shape, lists.shape[1]
    column = np.where(lists >= 0, lists, n_items + np.arange(length))
    scores, wanted = np.zeros((n_users, n_items + length)), np.zeros((n_users, n_items + length), dtype=bool)
    np.put_along_axis(scores, column, np.arange(length, 0, -1.0)[None, :], axis=1)
    wanted[:, :n_items] = positives.toarray() > 0
    return scores, wanted


def measure_with_pytrec_eval(run: Run, wanted: Wanted, n: int) -> dict[str, Values]:
    """Evaluate with trec_eval; it has no cut-off for the reciprocal rank and for F."""
    import pytrec_eval

    names = {
        "ndcg": f"ndcg_cut_{n}",
        "recall": f"recall_{n}",
        "precision": f"P_{n}",
        "f1": "set_F",
        "mrr": "recip_rank",
        "map": f"map_cut_{n}",
        "hit_rate": f"success_{n}",
    }
    found = pytrec_eval.RelevanceEvaluator(wanted, set(names.values())).evaluate(run)
    return {ours: np.array([found[user][theirs] for user in wanted]) for ours, theirs in names.items()}


def measure_with_ir_measures(run: Run, wanted: Wanted, n: int) -> dict[str, Values]:
    """Evaluate with ir_measures: trec_eval underneath, but for the reciprocal rank of MS MARCO."""
    import ir_measures
    from ir_measures import AP, RR, P, R, SetF, Success, nDCG

    names = {
        nDCG @ n: "ndcg",
        R @ n: "recall",
        P @ n: "precision",
        SetF: "f1",
        RR @ n: "mrr",
        AP @ n: "map",
        Success @ n: "hit_rate",
    }
    found = {(one.query_id, one.measure): one.value for one in ir_measures.iter_calc(list(names), wanted, run)}
    return {ours: np.array([found[user, theirs] for user in wanted]) for theirs, ours in names.items()}


def measure_with_ranx(run: Run, wanted: Wanted, n: int) -> dict[str, Values]:
    """Evaluate with ranx."""
    import ranx

    found = ranx.evaluate(ranx.Qrels(wanted), ranx.Run(run), [f"{name}@{n}" for name in METRICS], return_mean=False)
    return {name: np.asarray(found[f"{name}@{n}"]) for name in METRICS}


def measure_with_torchmetrics(scores: NDArray[np.float64], wanted: NDArray[np.bool_], n: int) -> dict[str, Values]:
    """Evaluate with torchmetrics, which has no F1 for lists and computes in float32."""
    import torch
    from torchmetrics.functional import retrieval

    names = {
        "ndcg": retrieval.retrieval_normalized_dcg,
        "recall": retrieval.retrieval_recall,
        "precision": retrieval.retrieval_precision,
        "mrr": retrieval.retrieval_reciprocal_rank,
        "map": retrieval.retrieval_average_precision,
        "hit_rate": retrieval.retrieval_hit_rate,
    }
    rows = list(zip(torch.from_numpy(scores), torch.from_numpy(wanted), strict=True))
    return {
        name: np.array([float(measure(score, target, top_k=n)) for score, target in rows])
        for name, measure in names.items()
    }


def measure_with_sklearn(scores: NDArray[np.float64], wanted: NDArray[np.bool_], n: int) -> dict[str, Values]:
    """Evaluate with scikit-learn, which has nDCG only; ties are averaged."""
    from sklearn.metrics import ndcg_score

    rows = zip(wanted.astype(np.float64), scores, strict=True)
    return {"ndcg": np.array([ndcg_score(target[None], score[None], k=n) for target, score in rows])}


FROM_LISTS: dict[str, Callable[[Run, Wanted, int], dict[str, Values]]] = {
    "pytrec_eval": measure_with_pytrec_eval,
    "ir_measures": measure_with_ir_measures,
    "ranx": measure_with_ranx,
}
FROM_SCORES: dict[str, Callable[[NDArray[np.float64], NDArray[np.bool_], int], dict[str, Values]]] = {
    "torchmetrics": measure_with_torchmetrics,
    "sklearn": measure_with_sklearn,
}


def measure_with(library: str, lists: Lists, positives: csr_array, n: int) -> dict[str, Values]:
    """Return the library's values of our metrics' nearest relatives, per user, in the lists' order."""
    if library in FROM_LISTS:
        return FROM_LISTS[library](nest_lists(lists), nest_positives(positives), n)
    return FROM_SCORES[library](*spread(lists, positives), n)


# --- where definitions differ ------------------------------------------------------------------------------------


def average_over_all_positives(hits: NDArray[np.bool_], n_positives: Counts, n: int) -> Values:
    """Average precision, its sum divided by all positives instead of the min(p, n) that n places can hold."""
    return METRICS["map"](hits, n_positives, n) * np.minimum(n_positives, n) / n_positives


def average_over_found(hits: NDArray[np.bool_], n_positives: Counts, n: int) -> Values:
    """Average precision, its sum divided by the hits in the first n, so that what is not found costs nothing."""
    found = np.maximum(hits[:, :n].sum(axis=1), 1)
    average: Values = METRICS["map"](hits, n_positives, n) * np.minimum(n_positives, n) / found
    return average


def reciprocal_rank_anywhere(hits: NDArray[np.bool_], n_positives: Counts, n: int) -> Values:
    """Reciprocal rank of the first hit in the whole list, whatever n."""
    return METRICS["mrr"](hits, n_positives, hits.shape[1])


def f1_of_the_whole_list(hits: NDArray[np.bool_], n_positives: Counts, n: int) -> Values:
    """F1 of the whole list, whatever n."""
    return METRICS["f1"](hits, n_positives, hits.shape[1])


# (library, metric) -> what it is in our terms, and how to get it from our hits; the others are the same as ours.
DIFFERENT: Mapping[tuple[str, str], tuple[str, Callable[[NDArray[np.bool_], Counts, int], Values]]] = {
    ("pytrec_eval", "f1"): ("whole list", f1_of_the_whole_list),
    ("pytrec_eval", "mrr"): ("whole list", reciprocal_rank_anywhere),
    ("pytrec_eval", "map"): ("sum / p", average_over_all_positives),
    ("ir_measures", "f1"): ("whole list", f1_of_the_whole_list),
    ("ir_measures", "map"): ("sum / p", average_over_all_positives),
    ("ranx", "map"): ("sum / p", average_over_all_positives),
    ("torchmetrics", "map"): ("sum / hits", average_over_found),
}


# --- the tables -----------------------------------------------------------------------------------------------


def compare(world: World, library: str) -> pl.DataFrame:
    """Return `model`, `n`, `metric`, our `definition` of theirs, mean values and the largest differences per user."""
    rows = []
    for model in ("popular", "item_to_item", "random"):
        lists = world.lists(model)
        hits, n_positives = find_hits(lists, world.positives), count_positives(world.positives)
        for n in N_VALUES:
            for metric, theirs in measure_with(library, lists, world.positives, n).items():
                ours = METRICS[metric](hits, n_positives, n)
                definition, adjust = DIFFERENT.get((library, metric), ("same", METRICS[metric]))
                adjusted = adjust(hits, n_positives, n)
                means = (float(ours.mean()), float(theirs.mean()))
                apart = (float(np.abs(ours - theirs).max()), float(np.abs(adjusted - theirs).max()))
                rows.append((library, metric, model, n, definition, *means, *apart))
    columns = ["library", "metric", "model", "n", "definition", "ours", "theirs", "apart", "apart_adjusted"]
    return pl.DataFrame(rows, schema=columns, orient="row")


def place(scores: Scores, positives: csr_array, depth: int) -> TiedRanks:
    """Find the positives in scores that may tie; NaN is not ranked."""
    user, item = np.nonzero(~np.isnan(scores))
    keys = {"user_index": user.astype(np.uint32), "item_index": item.astype(np.uint32)}
    ranked = rank_candidates(pl.DataFrame(keys), scores[user, item], scores.shape[1])
    taker, taken = positives.nonzero()
    wanted = {"user_index": taker.astype(np.uint32), "item_index": taken.astype(np.uint32)}
    return rank_positives(ranked, pl.DataFrame(wanted), len(scores), depth)


def compare_ties(world: World, model: str, n: int, libraries: list[str]) -> pl.DataFrame:
    """Return the `library`'s mean of each metric when it is given the scores with their ties, ours first."""
    scores, positives = world.scores[model], world.positives
    tied_ranks = place(scores, positives, DEPTH)
    hits, n_positives = tied_ranks.find_hits(), tied_ranks.count_positives()
    means = {"ours, expected": {name: METRICS[name](hits, n_positives, n) for name in METRICS}}
    by_item = find_hits(world.lists(model), positives)
    means["ours, by item number"] = {name: METRICS[name](by_item, n_positives, n) for name in METRICS}
    last = -np.sort(-np.nan_to_num(scores, nan=-1.0), axis=1)[:, DEPTH - 1 : DEPTH]
    run: Run = {
        name_user(user): {str(item): float(scores[user, item]) for item in np.flatnonzero(scores[user] >= last[user])}
        for user in range(len(scores))
    }
    # What may not be shown ranks below everything.
    everywhere = np.nan_to_num(scores.astype(np.float64), nan=-1.0)
    for library in libraries:
        means[library] = (
            FROM_LISTS[library](run, nest_positives(positives), n)
            if library in FROM_LISTS
            else FROM_SCORES[library](everywhere, positives.toarray() > 0, n)
        )
    rows = [{"library": name} | {key: float(value.mean()) for key, value in row.items()} for name, row in means.items()]
    return pl.DataFrame(rows, schema=["library", "ndcg", "recall", "precision", "mrr", "hit_rate"])


def print_table(table: pl.DataFrame, number: str) -> None:
    """Print a frame as Markdown, the numbers in a format and to the right."""
    marks = ["--:" if dtype.is_numeric() else "---" for dtype in table.dtypes]
    for row in (table.columns, marks, *table.iter_rows()):
        cells = (
            "–" if cell is None else format(cell, number) if isinstance(cell, float) else str(cell) for cell in row
        )
        print("| " + " | ".join(cells) + " |")
    print()


def main() -> None:
    """Print the tables of docs/reference/metrics.md."""
    libraries = [name for name in (*FROM_LISTS, *FROM_SCORES) if find_spec(name)]
    print(f"not installed: {', '.join({*FROM_LISTS, *FROM_SCORES} - set(libraries)) or 'none'}")
    world = make_world(load_config(CONFIG))
    n_positives = count_positives(world.positives)
    print(f"{len(n_positives):,} users, {n_positives.sum():,} positives, at most {n_positives.max()} of one user\n")
    table = pl.concat(compare(world, library) for library in libraries)
    shown = table.filter(pl.col("model") == "item_to_item", pl.col("n") == 10)
    means = shown.pivot("library", index="metric", values="theirs", maintain_order=True)
    ours = shown.select("metric", "ours").unique(maintain_order=True)
    print_table(ours.join(means, on="metric", maintain_order="left"), ".6f")
    together = table.group_by("library", "definition", maintain_order=True)
    named = pl.col("metric").unique(maintain_order=True).str.join(", ").alias("metrics")
    values = (pl.len() * len(n_positives)).alias("values")
    print_table(together.agg(named, values, pl.col("apart", "apart_adjusted").max()), ".1e")
    hits = find_hits(world.lists("item_to_item"), world.positives)
    capped = hits[:, :10].sum(axis=1) / np.minimum(n_positives, 10)
    print(f"recall@10 of item_to_item divided by min(p, n): {capped.mean():.6f}\n")
    print_table(compare_ties(world, "popular in steps", 10, libraries), ".6f")


if __name__ == "__main__":
    main()

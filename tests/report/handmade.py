"""A home made by hand: a run with every table, two published nights, and a catalogue with hostile titles."""

from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml
from miniature import settings
from worlds import DAY_ZERO, make_interactions, make_items

from recsys.artifacts.recommendations import publish
from recsys.artifacts.runs import write_run_tables
from recsys.artifacts.snapshots import write_snapshot
from recsys.config import Config, parse_config
from recsys.storage.files import replace_text, write_json, write_table
from recsys.storage.folders import write_folder
from recsys.tables import Recommendations, Rejected, empty

HOSTILE = "</script><img src=x onerror=\"document.title='broken'\">"
SOURCES = ("als", "item_to_item", "transitions", "text", "popular", "new_items")
MODELS = ("ours", "blend", "als", "item_to_item", "transitions", "ease", "tfidf", "text", "popular", "text_zero_shot")
_TITLES = [HOSTILE, "كتاب الليل والنهار", "深夜食堂 第一卷", "🦊 The fox & the hound", "Tea <b>for</b> two", "  "]
N_ITEMS, N_USERS = 40, 60
RUN = "mini-2025-02-03-12345678"
OUTCOMES = ("not recommendable", "not proposed", "cut at merge", "ranked below n", "listed")


def make_config() -> Config:
    return parse_config({**settings(), "evaluation": {"bootstrap_samples": 100, "segments": {"min_users": 10}}}, "test")


def make_home(home: Path, *, nights: int = 2) -> Config:
    """Fill a home; numbers are drawn once and for all."""
    config = make_config()
    rng = np.random.default_rng(3)
    items, interactions = _make_world(rng)
    dataset = config.dataset.model_dump(mode="json")
    tables = {"items": items, "interactions": interactions, "rejected": empty(Rejected)}
    (home / "snapshots").mkdir(parents=True)
    snapshot = write_snapshot(home, config.name, tables, dataset)
    _write_run(home, config, rng, snapshot, interactions)
    for night in range(nights):
        day = (DAY_ZERO + timedelta(days=33 + night)).date().isoformat()
        lists = _make_lists(rng, items, night)
        facts = {"model_version": str(night + 1), "snapshot": snapshot, "end": f"{day}T00:00:00+00:00"}
        publish(home, config.name, day, partial(_write_part, lists), facts)
    return config


def _write_part(lists: pl.DataFrame, folder: Path) -> dict[str, Any]:
    write_table(lists, Recommendations, folder / "part-00000.parquet", "lists")
    return {}


def _make_world(rng: np.random.Generator) -> tuple[pl.DataFrame, pl.DataFrame]:
    more = [f"A quiet story about number {number} and everyone who came along" for number in range(N_ITEMS)]
    titles = [*_TITLES, *more][:N_ITEMS]
    items = make_items(*({"item_id": f"i{place:02}", "title": title} for place, title in enumerate(titles)))
    rows = []
    for user in range(N_USERS):
        for step, item in enumerate(rng.permutation(N_ITEMS)[: 2 + user // 2]):
            rows.append((f"u{user:02}", f"i{item:02}", 34 * (step + 1) / (4 + user // 2)))
    return items, make_interactions(*rows, ("<i>sly</i>", "i00", 1), ("<i>sly</i>", "i01", 30))


def _make_lists(rng: np.random.Generator, items: pl.DataFrame, night: int) -> pl.DataFrame:
    rows = [
        {
            "user_id": user,
            "rank": rank,
            "item_id": items["item_id"][int(item)],
            "score": float(3.0 - 0.3 * rank + 0.2 * night + rng.normal(0, 0.1)),
            "sources": ["fallback"] if rank == 10 else ["als", "text"][: 1 + rank % 2],
            "reason": "Because of what you had" if rank % 2 else "Popular <right> now",
            "variant": "ranker",
            "model_version": str(night + 1),
        }
        for user in ["<i>sly</i>", *(f"u{number:02}" for number in range(N_USERS))]
        for rank, item in enumerate(
            np.roll(np.arange(N_ITEMS), -night)[:10] if user < "u10" else rng.permutation(N_ITEMS)[:10], 1
        )
    ]
    schema = {name: column.dtype for name, column in Recommendations.columns().items()}
    return pl.DataFrame(rows, schema=schema).sort("user_id", "rank")


def _estimates(rng: np.random.Generator, model: str, level: float) -> dict[str, Any]:
    ours = level * 1.3
    mean = ours if model == "ours" else level * (0.55 + 0.08 * MODELS.index(model))
    spread = 0.1 * level
    row: dict[str, float | None] = {"mean": mean, "low": mean - spread, "high": mean + spread}
    none = model == "ours"
    ahead = ours - mean
    row |= {
        "difference": None if none else ahead,
        "difference_low": None if none else ahead - spread,
        "difference_high": None if none else ahead + spread,
        "p_value": None if none else (0.0002 if ahead > spread else 0.31),
    }
    return row


def _make_model_lists(rng: np.random.Generator, taken: pl.DataFrame) -> pl.DataFrame:
    """Lists of three models for every second test user; ours starts with an item that the user took."""
    firsts = taken.group_by("user_id").agg(pl.col("item_id").first()).sort("user_id")[::2]
    rows = [
        (model, user, rank, item)
        for user, first in firsts.iter_rows()
        for model in ("ours", "blend", "popular")
        for rank, item in enumerate(
            [
                *([first] if model == "ours" else []),
                *(f"i{item:02}" for item in rng.permutation(N_ITEMS) if model != "ours" or f"i{item:02}" != first),
            ][:10],
            1,
        )
    ]
    schema = {"model": pl.String, "user_id": pl.String, "rank": pl.UInt16, "item_id": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _write_run(home: Path, config: Config, rng: np.random.Generator, snapshot: str, interactions: pl.DataFrame) -> None:
    levels = {"ndcg": 0.12, "recall": 0.2, "hit_rate": 0.4, "mrr": 0.15}
    metrics = [
        {"model": model, "metric": metric, "n": n, "users": N_USERS, **_estimates(rng, model, level * (0.7 + n / 30))}
        for model in MODELS
        for metric, level in levels.items()
        for n in (5, 10, 20)
    ]
    metrics += [
        {"model": model, "metric": metric, "n": 10, "users": N_USERS, **_estimates(rng, model, level)}
        for model in MODELS
        for metric, level in {"recall_ips": 0.15, "novelty": 6.0, "diversity": 0.6, "cold_share": 0.05}.items()
    ]
    cuts = {
        "users": {"new": 8, "light": 30, "heavy": 22},
        "items": {"cold": 9, "warm": 58},
        "event": {"view": 60, HOSTILE: 12},
    }
    segments = [
        {
            "dimension": cut,
            "segment": name,
            "model": model,
            "metric": metric,
            "n": 10,
            "users": users,
            "positives": users + 5,
            "enough": users >= 10,
            **_estimates(rng, model, levels[metric] * (0.6 + users / 60)),
        }
        for cut, names in cuts.items()
        for name, users in names.items()
        for model in MODELS
        for metric in ("ndcg", "recall")
    ]
    shares = {"source": list(SOURCES), "proposed": [3000] * 6, "found": [90, 80, 60, 70, 50, 8]}
    taken = (
        interactions.filter(pl.col("time") >= DAY_ZERO + timedelta(days=26))
        .select("user_id", "item_id")
        .unique()
        .sort("user_id", "item_id")
    )
    outcomes = rng.integers(0, 5, taken.height)
    positives = taken.with_columns(
        pl.lit(["view"]).alias("events"),
        pl.lit(["users: new"]).alias("segments"),
        pl.Series("outcome", [OUTCOMES[outcome] for outcome in outcomes]),
        pl.Series(
            "sources", [["als", "text"] if outcome >= 2 else [] for outcome in outcomes], dtype=pl.List(pl.String)
        ),
        pl.Series(
            "rank", [5 if outcome == 4 else 25 if outcome == 3 else None for outcome in outcomes], dtype=pl.UInt16
        ),
    )
    depths = [
        (source, depth, min(1.0, 0.05 + 0.1 * place * np.log(depth) / 10))
        for place, source in enumerate([*SOURCES, "union"], 1)
        for depth in (5, 10, 20, 50)
    ]
    overlap = [(a, b, float(rng.uniform()), float(rng.uniform())) for a in SOURCES for b in SOURCES if a != b]
    small = {"n": pl.UInt16, "users": pl.UInt32, "positives": pl.UInt32}
    tables = {
        "metrics": pl.DataFrame(metrics, schema_overrides=small, infer_schema_length=None),
        "segments": pl.DataFrame(segments, schema_overrides=small, infer_schema_length=None),
        "user_metrics": pl.DataFrame(
            {"model": ["ours"], "user_id": ["u01"], "metric": ["ndcg"], "n": [10], "value": [0.5]},
            schema_overrides=small,
        ),
        "catalogue": pl.DataFrame(
            {
                "model": list(MODELS),
                "coverage": np.linspace(0.9, 0.1, len(MODELS)),
                "gini": np.linspace(0.3, 0.95, len(MODELS)),
            }
        ),
        "positives": positives,
        "ledger": pl.DataFrame(shares).with_columns(
            pl.col("proposed", "found").cast(pl.UInt64),
            recall=pl.col("found") / 200,
            recall_alone=pl.col("found") / 2000,
            list_share=pl.col("found") / 100,
        ),
        "depths": pl.DataFrame(
            depths, schema={"source": pl.String, "depth": pl.UInt16, "recall": pl.Float64}, orient="row"
        ),
        "overlap": pl.DataFrame(
            overlap,
            schema={"source": pl.String, "other": pl.String, "proposed_share": pl.Float64, "found_share": pl.Float64},
            orient="row",
        ),
    }
    tables["model_lists"] = _make_model_lists(rng, taken)
    tables["neighbours"] = pl.DataFrame(
        {
            "item_id": [f"i{item:02}" for item in range(N_ITEMS) for _ in range(3)],
            "rank": [1, 2, 3] * N_ITEMS,
            "neighbour": [f"i{(item + step) % N_ITEMS:02}" for item in range(N_ITEMS) for step in (1, 2, 3)],
            "cosine": [0.9, 0.8, 0.7] * N_ITEMS,
        },
        schema_overrides={"rank": pl.UInt16, "cosine": pl.Float32},
    )
    features = [f"feature_{i}" for i in range(24)]
    tables["shift"] = pl.DataFrame(
        {
            "feature": features,
            "shift": np.linspace(0.9, 0, 24),
            "distance": np.linspace(0.9, 0, 24),
            "missing_training": 0.0,
            "missing_night": 0.0,
        }
    )
    gain = np.geomspace(900, 1, 24)
    tables["importance"] = pl.DataFrame({"feature": features, "gain": gain, "loss": gain / 9000 - 0.01})
    counts = positives.group_by("outcome").len()
    measured = {
        "positives": [[outcome, dict(counts.iter_rows()).get(outcome, 0)] for outcome in OUTCOMES],
        "union_recall": 0.61,
        "losses": {"metric": "ndcg", "n": 10, "retrieval": [0.39, 0.36, 0.42], "ranker": [0.454, 0.43, 0.48]},
        "churn": {"run": "mini-2025-01-27-87654321", "users": 55, "mean": 0.31, "low": 0.28, "high": 0.35},
        "blend": {"als": 0.5, "text": 0.5},
        "ranker": "40 trees + 0.5 blend (0.50 text, 0.50 als)",
        "users_without_history": 3,
        "curve_parts": {"interest_loss": [30, 10]},
    }

    def fill(folder: Path) -> None:
        write_run_tables(folder, tables)
        lists = (
            taken["user_id"]
            .unique()
            .sort()
            .to_frame()
            .join(pl.DataFrame({"rank": range(1, 11), "item_id": [f"i{i:02}" for i in range(10)]}), how="cross")
        )
        lists.with_columns(score=1.0 / pl.col("rank")).write_parquet(folder / "lists.parquet")
        write_json(
            folder / "curves.json",
            {
                "fine_tune_loss": [2.1, 1.7, 1.5],
                "interest_loss": list(np.geomspace(5, 2, 40)),
                "ranker_validation_ndcg": [],
            },
        )
        write_json(folder / "measured.json", measured)
        (folder / "config.yaml").write_text(
            yaml.safe_dump(config.resolved(), allow_unicode=True, sort_keys=False), "utf-8"
        )

    facts = {
        "kind": "run",
        "run": RUN,
        "snapshot": snapshot,
        "config": config.digest(),
        "protocol": "global_time",
        "end": "2025-02-03T00:00:00+00:00",
        "test_start": "2025-01-27T00:00:00+00:00",
        "test_end": "2025-02-03T00:00:00+00:00",
        "test_pairs": "0" * 12,
    }
    write_folder(home / "runs" / RUN, fill, facts)
    replace_text(home / "runs" / f"{config.name}.current", RUN + "\n")

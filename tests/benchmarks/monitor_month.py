"""A month of nights with outcomes: a promotion, then lists that get worse, and the same month with a changed world.

    PYTHONPATH=tests python tests/benchmarks/monitor_month.py [--out DIR]

A small demo shop; training, lists and monitor are the real ones. Events do not depend on what was shown. On night 12 a
newer model is promoted. From night 20 on, either the ranker's scores are exchanged at random among the best 25
candidates of each user ("we got worse": the distribution of scores stays, and enough items stay for the lists to be
published), or everybody's events are with items drawn at random ("the world changed"). Prints a row per night, and when
each was named first; `--out` keeps the pages.
"""

from __future__ import annotations

import argparse
import gzip
import shutil
import tempfile
from contextlib import nullcontext
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.config import Config, parse_config
from recsys.dataset.demo import write_demo
from recsys.errors import RecsysError
from recsys.pipelines.generate import generate
from recsys.pipelines.ingest import run_ingest
from recsys.pipelines.monitor import monitor
from recsys.pipelines.promote import promote
from recsys.pipelines.train import train
from recsys.ranking.ranker import Ranker
from recsys.report.monitor_page import write_monitor_page

_USERS, _ITEMS, _DAYS = 6_000, 400, 75
_START = date(2025, 1, 1)
_EXCHANGED = 25
_FIRST, _NIGHTS, _PROMOTION, _CHANGE = 42, 28, 12, 20
_NOW = datetime(2025, 6, 1, tzinfo=UTC)


def make_config(folder: Path) -> Config:
    """Return the demo's settings, smaller."""
    return parse_config(
        {
            "name": "month",
            "threads": 2,
            "dataset": {
                "items": {
                    "path": str(folder / "items.jsonl.gz"),
                    "columns": {
                        "item_id": "id",
                        "tags": "tags",
                        "description": "description",
                        "available": "available",
                    },
                    "attributes": {"category": "category"},
                },
                "interactions": {
                    "path": str(folder / "interactions.csv.gz"),
                    "columns": {"time": "timestamp", "event": "event"},
                    "event_weights": {"view": 1, "click": 2, "like": 3, "comment": 4, "share": 4, "purchase": 5},
                    "positive_events": ["click", "like", "comment", "share", "purchase"],
                },
            },
            "windows": {"test_days": 7},
            "text": {
                "max_tokens": 16,
                "fine_tune": {"max_steps_per_epoch": 1, "batch_size": 16},
                "interest": {"epochs": 1},
            },
            "ranking": {"max_trees": 60},
            "evaluation": {"bootstrap_samples": 100, "segments": {"item_columns": ["category"]}},
            "generation": {"keep_run_dates": 60},
        },
        "monitor_month",
    )


def exchange_scores() -> Any:
    """Return a patch by which the ranker's best scores are exchanged at random within each user's candidates."""
    real = Ranker.score

    def score(self: Ranker, columns: Any, starts: NDArray[np.int64]) -> NDArray[np.float32]:
        scores = real(self, columns, starts)
        users = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        best = np.lexsort((-scores, users))
        best = best[np.arange(len(scores)) - starts[users] < _EXCHANGED]
        luck = np.random.default_rng(0).random(len(best))
        exchanged = scores.copy()
        exchanged[best] = scores[best[np.lexsort((luck, users[best]))]]
        return exchanged

    return patch.object(Ranker, "score", score)


def change_world(folder: Path, first: date) -> None:
    """Give every event from a day on a random item."""
    path = folder / "interactions.csv.gz"
    events = pl.read_csv(gzip.decompress(path.read_bytes()), infer_schema=False)
    items = events["item_id"].unique().sort()
    drawn = items.gather(np.random.default_rng(1).integers(0, len(items), events.height))
    late = events["timestamp"] >= first.isoformat()
    changed = events.with_columns(item_id=pl.when(late).then(drawn).otherwise("item_id"))
    path.write_bytes(gzip.compress(changed.write_csv().encode(), mtime=0))


def watch(config: Config, home: Path, first: int, last: int, *, worse: bool = False) -> list[list[str]]:
    """Make and monitor the lists of some nights, and return the causes of each."""
    causes = []
    for number in range(first, last + 1):
        run_date = (_START + timedelta(days=_FIRST + number)).isoformat()
        if number == _PROMOTION:
            train(config, home, run_date)
            promote(config, home, why="the newest model")
        with exchange_scores() if worse else nullcontext():
            try:
                generate(config, home, run_date, _NOW)
            except RecsysError as error:
                print(f"{run_date}  {error}")
        done = monitor(config, home, run_date, _NOW)
        write_monitor_page(config.name, home, done.nights, done.reference)
        causes.append([str(alert["cause"]) for alert in done.night.alerts])
        figures = done.night.figures
        shown = " ".join(
            f"{figures.get(f'outcomes.week.{name}_ndcg', float('nan')):>8.4f}"
            for name in ("sample", "blend", "popularity")
        )
        hits = figures.get("outcomes.hit_rate", float("nan"))
        named = ", ".join(f"{alert['cause']} ({alert['figure']})" for alert in done.night.alerts) or "calm"
        retrain = " (retrain)" if done.night.retrain else ""
        print(f"{number:>2} {run_date}  v{done.night.model_version} {hits:>7.1%} {shown}  {named}{retrain}", flush=True)
    return causes


def run_month(folder: Path, out: Path | None) -> None:
    """Run the month twice from the night of the change on."""
    data, home = folder / "data", folder / "home"
    write_demo(data, users=_USERS, items=_ITEMS, days=_DAYS, seed=0, language="en")
    config = make_config(data)
    run_ingest(config, home, _NOW)
    train(config, home, (_START + timedelta(days=_FIRST)).isoformat())
    promote(config, home)
    print("   run date     version hits  nDCG of the week: ours, blend, popularity; verdict")
    calm = watch(config, home, 0, _CHANGE - 1)
    print(f"\nnights with an alert before the change: {sum(map(bool, calm))} of {len(calm)}")
    for name in ("we got worse", "the world changed"):
        other = folder / name.replace(" ", "-")
        shutil.copytree(home, other)
        print(f"\n{name}, from night {_CHANGE} on")
        if name == "the world changed":
            change_world(data, _START + timedelta(days=_FIRST + _CHANGE))
            run_ingest(config, other, _NOW)
        causes = watch(config, other, _CHANGE, _NIGHTS - 1, worse=name == "we got worse")
        for cause in ("lists_worse", "world_changed"):
            named = [number for number, found in enumerate(causes) if cause in found]
            print(
                f"{cause}: named on {len(named)} of {len(causes)} nights"
                + (f", first on night {_CHANGE + named[0]}" if named else "")
            )
        if out:
            out.mkdir(parents=True, exist_ok=True)
            shutil.copy(other / f"monitoring/{config.name}/page.html", out / f"{other.name}.html")


def main() -> None:
    """Run the month in a temporary folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run_month(Path(folder), arguments.out)


if __name__ == "__main__":
    main()

"""CPU time and memory of the figures of a night, by the number of users.

    python tests/benchmarks/monitor_cost.py [--users 50000 200000] [--items 20000]

Each size is a process of its own: demo events are written to a parquet file as ingest would, ten random items per user
are the lists, and the figures of two nights are computed, the second compared with the first. Peak memory is that of
the process; the memory before the first figure is given too.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from recsys.config.monitoring import MonitoringConfig
from recsys.dataset.demo.catalogue import draw_catalogue
from recsys.dataset.demo.english import ENGLISH
from recsys.dataset.demo.prose import tell_items
from recsys.dataset.demo.world import draw_interactions
from recsys.monitoring.figures import Observed, ShownLists
from recsys.monitoring.monitored_nights import LastNight, Night
from recsys.monitoring.nights import ServedNight
from recsys.monitoring.observation import Observation, observe

_DAYS = 60
_BLOCK, _SAMPLED = 50_000, 5_000
_END = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(days=_DAYS)


def write_events(path: Path, users: int, items: int) -> int:
    """Write `Interactions` of the demo, block by block, and return their number."""
    rows, writer = 0, None
    for block in draw_interactions(draw_catalogue(items, _DAYS, 0), users, _DAYS, 0):
        positive = pl.col("event").is_in(["like", "purchase"])
        table = block.select(
            *("user_id", "item_id"),
            step=pl.int_range(pl.len(), dtype=pl.UInt32).over("user_id"),
            time=pl.col("timestamp").cast(pl.Datetime("us", "UTC")),
            event="event",
            weight=pl.lit(1.0, dtype=pl.Float32),
            value=pl.lit(None, dtype=pl.Float32),
            position=pl.lit(None, dtype=pl.UInt16),
            positive=positive,
            consumed=positive,
        ).to_arrow(compat_level=pl.CompatLevel.oldest())
        writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
        writer.write_table(table)
        rows += table.num_rows
    if writer:
        writer.close()
    return rows


def write_lists(path: Path, users: int, items: pl.DataFrame) -> None:
    """Write ten random items for each user as `Recommendations`, block by block."""
    rng, writer = np.random.default_rng(0), None
    for start in range(0, users, _BLOCK):
        numbers = np.repeat(np.arange(start, min(start + _BLOCK, users)), 10)
        table = (
            pl.DataFrame(
                {
                    "user_id": "u" + pl.Series(numbers).cast(pl.String).str.zfill(7),
                    "rank": np.tile(np.arange(1, 11, dtype=np.uint16), len(numbers) // 10),
                    "item_id": items["item_id"].gather(rng.integers(0, items.height, len(numbers))),
                    "score": rng.random(len(numbers)).astype(np.float32),
                }
            )
            .unique(["user_id", "item_id"], maintain_order=True)
            .with_columns(sources=pl.lit(["als"]), reason=pl.lit(""), variant=pl.lit("a"), model_version=pl.lit("1"))
            .to_arrow(compat_level=pl.CompatLevel.oldest())
        )
        writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
        writer.write_table(table)
    if writer:
        writer.close()


def measure(users: int, n_items: int) -> None:
    """Print a row for one number of users."""
    raw = pl.concat(tell_items(draw_catalogue(n_items, _DAYS, 0), ENGLISH, 0))
    items = raw.select(
        pl.col("id").alias("item_id"),
        *("title", "description", "tags", "available"),
        pl.col("created_at").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC", time_unit="us"),
        "category",
    ).sort("item_id")
    with tempfile.TemporaryDirectory() as folder:
        events, lists = Path(folder) / "events.parquet", Path(folder) / "lists.parquet"
        command = [sys.executable, __file__, "--write", folder, "--users", str(users), "--items", str(n_items)]
        subprocess.run(command, check=True)
        baselines = _sample_baselines(lists, users)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        first = _observe(events, lists, items, baselines, _END - timedelta(days=1), None)
        night = Night("2025-03-01", (_END - timedelta(days=1)).isoformat(), "s", "1", "c", "calm", {}, {})
        night = Night(**{**night.__dict__, "figures": first.figures.values, "segments": first.figures.segments})
        cpu, wall = time.process_time(), time.perf_counter()
        _observe(events, lists, items, baselines, _END, LastNight(night, first.sketches))
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        rows = pq.ParquetFile(events).metadata.num_rows
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{users:>9,} {rows:>11,} {cpu:>8.1f} {wall:>8.1f} {before:>10,.0f} {peak:>8,.0f}", flush=True)


def _sample_baselines(lists: Path, users: int) -> pl.DataFrame:
    """Return `BaselineLists` of a sample of the users."""
    step = max(1, users // _SAMPLED)
    sampled = pl.DataFrame({"user_id": [f"u{number:07d}" for number in range(0, users, step)]}).lazy()
    rows = (
        pl.scan_parquet(lists, glob=False).join(sampled, on="user_id", how="semi").select("user_id", "rank", "item_id")
    )
    found = rows.collect(engine="streaming")
    return pl.concat(found.with_columns(baseline=pl.lit(name)) for name in ("blend", "popularity"))


def _observe(
    events: Path, lists: Path, items: pl.DataFrame, baselines: pl.DataFrame, end: datetime, last: LastNight | None
) -> Observation:
    served = ServedNight((end - timedelta(days=1)).date().isoformat(), end - timedelta(days=1), end)
    observed = Observed(
        run_date=end.date().isoformat(),
        end=end,
        snapshot="s",
        items=items,
        interactions=pl.scan_parquet(events, glob=False),
        lists=pl.scan_parquet(lists, glob=False),
        list_facts={"run_date": end.date().isoformat(), "snapshot": "s", "model_version": "1", "config": "c"},
        item_columns=("category",),
        shown=ShownLists(served, pl.scan_parquet(lists, glob=False), baselines),
    )
    return observe(observed, last, MonitoringConfig())


def main() -> None:
    """Measure each number of users in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, nargs="+", default=[50_000, 200_000])
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--write", help=argparse.SUPPRESS)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write:
        folder, (users,) = Path(arguments.write), arguments.users
        write_events(folder / "events.parquet", users, arguments.items)
        names = [f"i{number:06d}" for number in range(arguments.items)]
        write_lists(folder / "lists.parquet", users, pl.DataFrame({"item_id": names}))
    elif arguments.one:
        measure(arguments.users[0], arguments.items)
    else:
        print(f"{'users':>9} {'events':>11} {'CPU s':>8} {'wall s':>8} {'MB before':>10} {'MB peak':>8}", flush=True)
        for users in arguments.users:
            command = [sys.executable, __file__, "--one", "--users", str(users), "--items", str(arguments.items)]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()

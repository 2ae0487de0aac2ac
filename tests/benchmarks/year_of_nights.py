"""A year of nights and weekly trainings in one home, with `recsys prune` after every night and without.

    python tests/benchmarks/year_of_nights.py [--days 365] [--fine-tune]

Nothing is fitted: bundles, snapshots and lists are small, but they are written, registered, promoted and pruned by the
functions that the commands use, and files get the time of the simulated day. Every second challenger is promoted.
Prints the megabytes of the home by kind at the end of each month.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from fake_versions import FakeGate, decide
from miniature import settings
from simulated_home import KINDS, SimulatedHome

from recsys.config import parse_config
from recsys.errors import Refused
from recsys.pipelines.promote import promote
from recsys.pipelines.prune import prune

MONTH = 30.4
# 2,500 new texts a day would need 450 days to fill the default of 2 GB.
CACHE_MEGABYTES = 5


def simulate(home: Path, days: int, gate: FakeGate, *, pruned: bool, tuned: bool) -> list[dict[str, int]]:
    """Live through the days and return the sizes at the end of each month."""
    config = parse_config({**settings(), "retention": {"cache_megabytes": CACHE_MEGABYTES}}, "benchmark")
    shop = SimulatedHome(config, home, encoder_bytes=1_000_000, tuned=tuned)
    sizes: list[dict[str, int]] = []
    for day in range(days):
        if day % 7 == 0:
            shop.train()
            better = day % 14 == 0
            gate.decision = decide("better" if better else "worse", new_anchor=better)
            with suppress(Refused):
                promote(shop.config, home)
        shop.night()
        if pruned:
            prune(shop.config, home, shop.now)
        if int((day + 1) / MONTH) > len(sizes):
            sizes.append(shop.sizes())
    return sizes


def main() -> None:
    """Simulate both years and print their months next to each other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--fine-tune", action="store_true", help="every bundle has an encoder of its own")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as scratch:
        gate = FakeGate.install(patch)
        for pruned in (True, False):
            started = time.monotonic()
            home = Path(scratch, f"home-{pruned}")
            months = simulate(home, options.days, gate, pruned=pruned, tuned=options.fine_tune)
            print(f"\n{'with' if pruned else 'without'} recsys prune, MB by kind at the end of each month", end=" ")
            print(f"({time.monotonic() - started:.0f} s)")
            print("month " + " ".join(f"{kind:>15}" for kind in (*KINDS, "all")))
            for number, sizes in enumerate(months, start=1):
                row = (*sizes.values(), sum(sizes.values()))
                print(f"{number:>5} " + " ".join(f"{size / 1e6:>15.2f}" for size in row), flush=True)


if __name__ == "__main__":
    main()

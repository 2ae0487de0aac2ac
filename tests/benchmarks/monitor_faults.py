"""How many faults `recsys monitor` finds in the same night, and how often it alerts in normal nights.

    PYTHONPATH=tests python tests/benchmarks/monitor_faults.py [--faults] [--calm]

Simulated nights of the demo shop (tests/night_world.py), nothing trained, fixed seeds. Each fault is put into the night
after 28 normal nights, a calm one without the fault. The normal nights have a weekday rhythm, noise from day to day,
growth, new items and a promotion of five days; the first 28 build the reference and are not counted.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter

from night_world import FAULTS, Watchman, World

_LEARNING, _NIGHTS, _FIRST_DAY = 28, 200, 35
_WORLD = {"users": 6_000, "items": 1_500}


def find_faults(seed: int) -> None:
    """Print a row per fault: caught or not, the causes that were named, and the first alert."""
    world = World.draw(**_WORLD, days=120, seed=seed)
    watchman = Watchman()
    for day in range(_FIRST_DAY, _FIRST_DAY + _LEARNING):
        watchman.watch(world.night(day))
    feed = world.night(_FIRST_DAY + _LEARNING)
    _, calm, _ = watchman.judge(feed)
    print(f"without a fault: {', '.join(alert.cause for alert in calm) or 'calm'}\n")
    caught = right = 0
    print(f"{'fault':<32} {'first cause':<26} right  figure, tonight, normal range")
    for fault in FAULTS:
        _, alerts, _ = watchman.judge(fault.apply(feed, world))
        caught += bool(alerts)
        hit = bool(alerts) and alerts[0].cause in fault.causes
        right += hit
        first = alerts[0] if alerts else None
        shown = f"{first.figure} {first.value:.4g} [{first.low}, {first.high}]" if first else "-"
        mark = " (ours)" if fault.ours else ""
        print(
            f"{fault.name + mark:<40} {first.cause if first else 'NOT CAUGHT':<26} {'yes' if hit else 'no':<5} {shown}"
        )
        if len(alerts) > 1:
            print(f"{'':<40} also: {', '.join(alert.cause for alert in alerts[1:])}")
    print(f"\ncaught in the same night: {caught} of {len(FAULTS)}; right cause first: {right} of {len(FAULTS)}")


def watch_calm_nights(seed: int) -> None:
    """Print the nights with an alert among the normal nights."""
    first = _FIRST_DAY + _LEARNING
    world = World.draw(**_WORLD, days=first + _NIGHTS + 1, seed=seed, promotion=first + 90)
    watchman, alerted, causes, seconds = Watchman(), [], Counter[str](), 0.0
    for day in range(_FIRST_DAY, first + _NIGHTS):
        feed = world.night(day)
        start = time.process_time()
        alerts = watchman.watch(feed)
        seconds += time.process_time() - start
        if alerts:
            learning = day < first
            print(f"{feed.run_date}{' (learning)' if learning else ''}:")
            for alert in alerts:
                print(f"  {alert.cause}: {alert.figure} {alert.value:.4g} [{alert.low}, {alert.high}] {alert.also}")
            if not learning:
                alerted.append(feed.run_date)
                causes.update(alert.cause for alert in alerts)
    total = _LEARNING + _NIGHTS
    print(f"\nnormal nights with an alert: {len(alerted)} of {_NIGHTS} ({dict(causes)}); seed {seed}")
    print(f"CPU seconds per night: {seconds / total:.2f}; last night: {feed.events.height:,} events")


def main() -> None:
    """Run both, or one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", action="store_true")
    parser.add_argument("--calm", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    both = arguments.faults == arguments.calm
    if arguments.faults or both:
        find_faults(arguments.seed)
    if arguments.calm or both:
        watch_calm_nights(arguments.seed)


if __name__ == "__main__":
    main()

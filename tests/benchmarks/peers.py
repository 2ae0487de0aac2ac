"""Our lists beside those of other programs, on exactly the same rows to learn from and the same users.

    python tests/benchmarks/peers.py --install ENVIRONMENTS
    RECSYS_DATA=… python tests/benchmarks/peers.py --config configs/ml100k.yaml --environments ENVIRONMENTS
    … --only "RecTools ALS;RecTools EASE"      # some peers; what an earlier run measured is taken from --work

Peers have environments of their own, since their dependencies exclude ours, and run as programs of their own
(`peers/with_….py`), one after another. All learn from the rows before the config's test window, recommend for the users
who took something in it, leave out what a user has (unless `dataset.repeats`), and are scored by our metrics.

Each peer is tuned: its documented settings and some others learn from the rows before the newest label window until
`--tuning-seconds` are over; those with the best nDCG there learn from all rows. Networks are looked at after more and
more epochs. A program that needs more than `--most-seconds` is stopped and reported. Ours is trained as `recsys train`
trains its evaluation model; seconds are of fitting, and of the lists of all users, without reading files. They are CPU
seconds, summed over threads, so that other work on the machine does not count.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.peer_lists import Problem, compare, describe_holdout, tabulate
from benchmarks.peer_ours import make_our_lists
from benchmarks.peer_roster import (
    PROGRAMS,
    Peer,
    Settings,
    choose,
    find_interpreters,
    install,
    list_names,
    read_versions,
)

from recsys.config import Config, load_config
from recsys.config.overrides import apply_settings
from recsys.dataset.ingestion import ingest
from recsys.dataset.windows import resolve_end, split_windows
from recsys.errors import ConfigError, RecsysError
from recsys.evaluation.comparison import OURS
from recsys.progress import format_count

_OVER = "over"
_THREAD_SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "RAYON_NUM_THREADS")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    given = parse(arguments)
    try:
        if given.install:
            install(choose(given.only), given.install)
            return 0
        if not given.config:
            raise ConfigError("peers: no --config and no --install; name a config, such as configs/ml100k.yaml")
        config = apply_settings(load_config(given.config), _read_changes(given.set))
        config = apply_settings(config, {"threads": given.threads})
        if given.ours:
            make_our_lists(config, given.ours)
            return 0
        peers = choose(given.only)
        interpreters = find_interpreters(peers, given.environments)
        Comparison(given, config, peers, interpreters).run()
    except RecsysError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--config", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the config")
    parser.add_argument("--install", type=Path, metavar="FOLDER", help="make the peers' environments here, and stop")
    parser.add_argument("--environments", type=Path, default=Path("peer_environments"), metavar="FOLDER")
    parser.add_argument(
        "--work", type=Path, default=Path("peer_work"), metavar="FOLDER", help="keeps what was measured"
    )
    parser.add_argument("--label", default="", help="tells runs of a config with different --set apart")
    parser.add_argument(
        "--only", metavar="NAMES", help="names of peers, or ours, separated by semicolons; all if left out"
    )
    parser.add_argument(
        "--measure-only", action="store_true", help="keep the peers' lists and costs in --work, and stop"
    )
    parser.add_argument("--tuning-seconds", type=float, default=180.0)
    parser.add_argument("--most-seconds", type=float, default=900.0, help="of one program's run")
    parser.add_argument("--threads", type=int, default=1, help="of everybody")
    parser.add_argument("--ours", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _read_changes(changes: Sequence[str]) -> dict[str, Any]:
    return {name: yaml.safe_load(value) for name, value in (one.split("=", 1) for one in changes)}


class Comparison:
    """One set: everybody learns from the same rows and recommends for the same users."""

    def __init__(
        self, given: argparse.Namespace, config: Config, peers: list[Peer], interpreters: Mapping[str, Path]
    ) -> None:
        self.given, self.config, self.peers, self.interpreters = given, config, peers, interpreters
        self.name = "-".join(part for part in (config.name, given.label) if part)
        self.folder = given.work.absolute() / self.name
        found = ingest(config.dataset, now=datetime.now(UTC))
        end = resolve_end(found.interactions, None)
        windows = split_windows(
            found.interactions, config.windows, repeats=config.dataset.repeats, end=end, seed=config.seed
        )
        self.test = Problem.of(windows.test, found.items, config)
        self.label = Problem.of(windows.measurement_fold.labels[0], found.items, config)
        self.held_out = describe_holdout(windows, config)
        self.tables = {
            "label": self.label.write(self.folder / "label"),
            "test": self.test.write(self.folder / "test"),
        }
        self.chosen: dict[str, Settings] = {}

    def run(self) -> None:
        """Measure everybody and print the table."""
        costs: dict[str, dict[str, Any]] = {}
        if not self.given.measure_only or OURS in list_names(self.given.only):
            costs[OURS] = self._measure(OURS, self._fit_ours)
        for peer in self.peers:
            costs[peer.name] = self._measure(peer.name, lambda peer=peer: self._fit_peer(peer), peer)
            self.chosen[peer.name] = costs[peer.name].get("settings", peer.settings[0])
        if not self.given.measure_only:
            self._report(costs)

    def _report(self, costs: Mapping[str, Mapping[str, Any]]) -> None:
        scores = {
            name: self.test.score(name, pl.read_parquet(cost["lists"]))
            for name, cost in costs.items()
            if "failed" not in cost
        }
        table = compare(scores, self.config)
        lines = [
            f"{self.name}: {len(self.test.users):,} users, {self.test.positives.height:,} positives, "
            f"{self.test.rows.height:,} rows to learn from; {format_count(self.given.threads, 'thread')}",
            "",
            *tabulate(table, costs, self.config.evaluation.n),
            "",
            *(f"{name}: {read_versions(name)}" for name in dict.fromkeys(peer.environment for peer in self.peers)),
        ]
        report = self.folder / "table"
        report.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")
        report.with_suffix(".json").write_text(
            json.dumps({"costs": costs, "table": table.to_dicts()}, indent=1), encoding="utf-8"
        )
        print("\n".join(lines))

    def _measure(self, name: str, fit: Callable[[], dict[str, Any]], peer: Peer | None = None) -> dict[str, Any]:
        """Return the costs of a model, from an earlier run where nothing has changed that they depend on."""
        folder = self.folder / re.sub(r"\W+", "_", name)
        kept = folder / "result.json"
        key = self._make_key(peer)
        earlier: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {"key": None}
        # A program that broke is tried again; one that was stopped for its time would be again.
        if earlier["key"] == key and str(earlier.get("failed", _OVER)).startswith(_OVER):
            return earlier
        folder.mkdir(parents=True, exist_ok=True)
        started = time.perf_counter()
        cost: dict[str, Any] = fit() | {"key": key}
        reached = "" if "failed" in cost else f": nDCG {self.test.reach(pl.read_parquet(cost['lists'])):.4f}"
        seconds = time.perf_counter() - started
        print(f"{self.name}, {name}{reached}, {seconds:.0f} s, {cost.get('failed') or cost['chosen']}", file=sys.stderr)
        kept.write_text(json.dumps(cost, indent=1), encoding="utf-8")
        return cost

    def _make_key(self, peer: Peer | None) -> str:
        """Return what tells whether an earlier result still holds: the set, the peer, its parts and its program."""
        parts = [] if peer is None else [self.chosen.get(other) for _, other in peer.parts]
        content = [self.config.model_dump_json(), repr(peer), parts]
        if peer:
            content.append((PROGRAMS / peer.program).read_text(encoding="utf-8"))
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def _fit_ours(self) -> dict[str, Any]:
        """Train and recommend in a process of its own, whose memory is measured as the peers' is."""
        folder = self.folder / OURS
        command = [sys.executable, __file__, "--config", self.given.config, "--ours", folder]
        for change in self.given.set:
            command += ["--set", change]
        command += ["--threads", str(self.given.threads)]
        if subprocess.run(command, env=self._environ(), check=False).returncode:
            raise ConfigError(f"{self.name}: our own training failed, see above; run 'recsys train' with this config")
        return dict(json.loads((folder / "done.json").read_text(encoding="utf-8")))

    def _fit_peer(self, peer: Peer) -> dict[str, Any]:
        parts = {part: self.chosen.get(other, {}) for part, other in peer.parts}
        settings = [one | ({"parts": parts} if parts else {}) for one in peer.settings]
        tried = self._run_program(peer, "label", settings)
        if not tried:
            failed = f"{_OVER} {self.given.most_seconds:.0f} CPU s with the first settings"
            return {"failed": self._read_failure(peer, "label") or failed}
        for one in tried:
            one["reached"] = self.label.reach(pl.read_parquet(one["lists"]))
        best = max(tried, key=lambda one: one["reached"])
        done = self._run_program(peer, "test", [best["settings"]])
        if not done:
            failed = f"{_OVER} {self.given.most_seconds:.0f} CPU s with {describe(best['settings'])}"
            return {"failed": self._read_failure(peer, "test") or failed}
        count = f"best of {len(tried)}" + (", the last one tried" if peer.neural and best is tried[-1] else "")
        tuning = sum(one["train"] + one["recommend"] for one in tried)
        return done[0] | {"chosen": f"{describe(best['settings'])} ({count})", "tuning": tuning, "tried": tried}

    def _run_program(self, peer: Peer, problem: str, settings: list[Settings]) -> list[dict[str, Any]]:
        """Return what a program wrote about each settings that it came to."""
        folder = self.folder / re.sub(r"\W+", "_", peer.name) / problem
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*"):
            if old.is_file():
                old.unlink()
        task = self.tables[problem] | {
            "model": peer.model,
            "settings": settings,
            "n": self.config.evaluation.n,
            "repeats": self.config.dataset.repeats,
            "threads": self.given.threads,
            "seconds": self.given.tuning_seconds,
            "held_out": self.held_out,
            "cache": str(self.folder),
        }
        (folder / "task.json").write_text(json.dumps(task), encoding="utf-8")
        command = [self.interpreters[peer.environment], PROGRAMS / peer.program, folder / "task.json"]
        most = round(self.given.most_seconds)
        with (folder / "output.txt").open("w", encoding="utf-8") as output:
            code = subprocess.run(
                command,
                env=self._environ(),
                cwd=folder,
                stdout=output,
                stderr=output,
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (most, most)),
                check=False,
            ).returncode
        if code < 0:
            print(f"{peer.name}: stopped by signal {-code}, after at most {most} CPU s", file=sys.stderr)
        if not (folder / "done.json").exists():
            return []
        done = json.loads((folder / "done.json").read_text(encoding="utf-8"))
        return [one | {"lists": str(folder / one["lists"])} for one in done]

    def _read_failure(self, peer: Peer, problem: str) -> str:
        """Return the last line of a program that ended in an error; empty if it was stopped for its time."""
        path = self.folder / re.sub(r"\W+", "_", peer.name) / problem / "output.txt"
        text = path.read_text(encoding="utf-8")
        return text.strip().splitlines()[-1] if "Traceback" in text else ""

    def _environ(self) -> dict[str, str]:
        threads = dict.fromkeys(_THREAD_SETTINGS, str(self.given.threads))
        return os.environ | threads | {"OPENBLAS_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def describe(settings: Settings) -> str:
    """Return settings in a table's words; settings of parts have rows of their own."""
    shown = {name: value for name, value in settings.items() if name != "parts"}
    return ", ".join(f"{name} {value}" for name, value in shown.items()) or "documented"


if __name__ == "__main__":
    sys.exit(main())

"""What it costs to fine-tune in two processes, started by one launcher of torchrun or by two, as on two machines.

    RECSYS_DATA=… python tests/benchmarks/fine_tuning_processes.py --config configs/ml1m.yaml --home HOME

Fine-tunes the config's checkpoint on the items of its snapshot in HOME that most users have: alone, in two processes
of one launcher, and in a process of each of two launchers that meet on the loopback interface, each process with one
thread. Prints the seconds and the CPU seconds of all processes for a step after the first, what they exchange in it,
and by how much the losses differ from those of one process: without dropout and in float32 nothing but the order of
sums does. Ends with exit code 1 if that is more than 1e-3.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import nn

from recsys.artifacts.snapshots import open_snapshot
from recsys.config import load_config
from recsys.dataset.histories import stream_histories
from recsys.text.encoder import Encoder
from recsys.text.item_text import ItemTexts
from recsys.text.training.data import FineTuningData
from recsys.text.training.fine_tuning import Runtime, fine_tune
from recsys.text.training.layer_inputs import freeze_states
from recsys.text.training.processes import join_processes

WAYS = ("alone", "one launcher", "two launchers")
LARGEST_DIFFERENCE = 1e-3


def main() -> None:
    """Measure and print; the processes that this script starts only measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.out:
        measure(given)
        return
    found = {}
    for way in WAYS:
        with tempfile.TemporaryDirectory() as folder:
            start(way, [__file__, *sys.argv[1:], "--out", folder])
            found[way] = [json.loads(path.read_text()) for path in sorted(Path(folder).iterdir())]
    worst = 0.0
    for way, processes in found.items():
        first = processes[0]
        difference = np.abs(np.subtract(first["losses"], found["alone"][0]["losses"])).max()
        worst = max(worst, float(difference))
        # All processes average the gradients of what they train, and gather the vectors of the batch.
        sent = 4 * (first["trained"] + given.batch * first["size"]) / 1e6 if len(processes) > 1 else 0.0
        print(
            f"{way:14} {first['seconds']:6.3f} s  {sum(each['used'] for each in processes):6.3f} CPU s  "
            f"{sent:6.1f} MB a step  loss {first['losses'][0]:.4f} to {first['losses'][-1]:.4f}, "
            f"largest difference {difference:.1e}"
        )
    if worst > LARGEST_DIFFERENCE:
        sys.exit(f"losses differ by more than {LARGEST_DIFFERENCE}")


def start(way: str, command: list[str]) -> None:
    """Run the command in as many processes as the name says."""
    torchrun = [sys.executable, "-m", "torch.distributed.run"]
    launchers = [[sys.executable]]
    if way == "one launcher":
        launchers = [[*torchrun, "--standalone", "--nproc-per-node", "2"]]
    if way == "two launchers":
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            place = ["--master-addr", "127.0.0.1", "--master-port", str(free.getsockname()[1])]
        machine = [*torchrun, "--nnodes", "2", *place, "--nproc-per-node", "1"]
        launchers = [[*machine, "--node-rank", rank] for rank in ("0", "1")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    started = [subprocess.Popen([*launcher, *command], env=environment) for launcher in launchers]
    codes = [process.wait() for process in started]
    if any(codes):
        sys.exit(f"{way}: a process failed")


def measure(given: argparse.Namespace) -> None:
    """Fine-tune together with the other processes, and write what a step took."""
    torch.set_num_threads(1)
    config = load_config(given.config)
    processes = join_processes()
    snapshot = open_snapshot(given.home, config.name, config.dataset.model_dump(mode="json"))
    counts = snapshot.interactions.group_by("item_id").agg(pl.len()).sort("len", "item_id", descending=True)
    items = snapshot.items.join(counts.head(given.items).collect(), on="item_id", how="semi").sort("item_id")
    histories = stream_histories(snapshot.interactions, items, None)
    settings = config.text.model_copy(update={"precision": "float32"})
    encoder = Encoder(settings.checkpoint, settings)
    for module in encoder.model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    tuning = settings.fine_tune.model_copy(
        update={"epochs": 1, "max_steps_per_epoch": given.steps, "batch_size": given.batch, "untouched_share": 0.0}
    )
    texts = ItemTexts.from_items(items, settings.fields).texts.to_list()
    data = FineTuningData(freeze_states(encoder, texts, tuning.trainable_layers), histories)
    clock: list[tuple[float, float]] = []

    def watch(*_: Any) -> None:
        clock.append((time.perf_counter(), time.process_time()))

    result = fine_tune(encoder, data, tuning, config.seed, Runtime(processes=processes, progress=watch))
    layers = encoder.layers[-tuning.trainable_layers :]
    (begin, used), (end, used_up) = clock[0], clock[-1]
    found = {
        "losses": result.losses,
        "seconds": (end - begin) / (len(clock) - 1),
        "used": (used_up - used) / (len(clock) - 1),
        "trained": sum(parameter.numel() for layer in layers for parameter in layer.parameters()),
        "size": result.embeddings.shape[1],
    }
    (given.out / f"{processes.rank}.json").write_text(json.dumps(found))
    processes.close()


if __name__ == "__main__":
    main()

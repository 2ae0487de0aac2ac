import json
import os
import runpy
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import distributed

from recsys.errors import ConfigError
from recsys.text.training.processes import Processes, join_processes

# The work of each process: the first argument names it, the second is the output folder.
WORKER = '''
import json, os, signal, sys, time
from pathlib import Path
import numpy as np
import torch
from torch import nn
from recsys.errors import RecsysError
from recsys.text.training.processes import Processes, join_processes


def curve(processes):
    """Losses of a small contrastive training on batches of 1 to 9 items, encoder before and head after gathering."""
    torch.manual_seed(processes.rank)
    encoder = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5))
    head, unused = nn.Linear(5, 5), nn.Linear(2, 2)
    parameters = [*encoder.parameters(), *head.parameters(), *unused.parameters()]
    if processes.is_first:
        torch.manual_seed(7)
        for parameter in parameters:
            nn.init.normal_(parameter, std=0.5)
    processes.broadcast(parameters)
    # SGD, because unlike Adam it depends on the length of gradients.
    optimizer = torch.optim.SGD(parameters, 0.02, momentum=0.9, weight_decay=0.1)
    rng, losses = np.random.default_rng(3), []
    for step in range(20):
        n = (9, 4, 1, 5, 2)[step % 5]
        batch = torch.from_numpy(rng.normal(size=(n, 6)).astype(np.float32))
        vectors = processes.gather(encoder(batch[processes.share(n)]), n)
        logits = head(vectors) @ vectors.T
        loss = nn.functional.cross_entropy(logits, torch.arange(n)) + vectors.square().mean()
        optimizer.zero_grad()
        loss.backward()
        processes.average_gradients(parameters)
        assert unused.weight.grad is None
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses, torch.cat([parameter.detach().flatten() for parameter in parameters]).tolist()


def lose(processes, how):
    """The second process stops for good in the third exchange."""
    parameter = nn.Parameter(torch.zeros(3))
    for step in range(4):
        if step == 2 and not processes.is_first:
            os.kill(os.getpid(), signal.SIGKILL if how == "die" else signal.SIGSTOP)
        parameter.grad = torch.full((3,), float(processes.rank + step))
        processes.average_gradients([parameter])
        assert parameter.grad.tolist() == [step + 0.5] * 3


def main(what, out):
    rank, started = os.environ["RANK"], time.monotonic()
    (out / f"ready_{rank}").touch()
    while what in ("die", "hang") and len(list(out.glob("ready_*"))) < 2:
        time.sleep(0.01)
    processes = Processes()
    try:
        processes = join_processes(timeout_seconds=60 if what == "curve" else 2)
        assert join_processes() == processes
        outcome = curve(processes) if what == "curve" else lose(processes, what)
    except RecsysError as error:
        outcome = [str(error), time.monotonic() - started]
    finally:
        processes.close()
    (out / f"{rank}.json").write_text(json.dumps(outcome))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
'''


@pytest.fixture
def worker(tmp_path) -> Path:
    path = tmp_path / "worker.py"
    path.write_text(WORKER)
    return path


def clean_environment(**more: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", **more}


def read(folder: Path, rank: int):
    return json.loads((folder / f"{rank}.json").read_text())


def test_two_processes_have_the_loss_curve_of_one(worker, tmp_path):
    with torch.random.fork_rng():
        losses, weights = runpy.run_path(str(worker))["curve"](Processes())
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, str(worker), "curve", str(tmp_path)]
    done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    first, second = read(tmp_path, 0), read(tmp_path, 1)
    assert losses[-1] < losses[0]
    np.testing.assert_allclose(first[0], losses, atol=1e-5)
    np.testing.assert_allclose(first[1], weights, atol=1e-5)
    # Both processes have bit-identical models, so they never diverge.
    assert first == second


def start(worker: Path, what: str, rank: int, port: int) -> subprocess.Popen:
    environment = clean_environment(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    return subprocess.Popen([sys.executable, str(worker), what, str(worker.parent)], env=environment)


def find_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.mark.parametrize("how", ["die", "hang"])
def test_a_stopped_process_does_not_block_the_other_forever(worker, tmp_path, how):
    port = find_port()
    both = [start(worker, how, rank, port) for rank in (0, 1)]
    try:
        assert both[0].wait(60) == 0
    finally:
        both[1].send_signal(signal.SIGKILL)
        both[1].wait(10)
    message, seconds = read(tmp_path, 0)
    assert message.startswith("process 0 of 2: lost the other processes while averaging gradients (")
    assert message.endswith("one of them has stopped or is stuck; read its error message, then restart all of them")
    assert seconds < 30
    assert not (tmp_path / "1.json").exists()


def test_a_missing_process_is_not_awaited_forever(worker, tmp_path):
    assert start(worker, "wait", 1, find_port()).wait(60) == 0
    message, seconds = read(tmp_path, 1)
    assert message.startswith("process 1 of 2: lost the other processes while waiting for all processes to join (")
    assert seconds < 30


# --- one process -----------------------------------------------------------------------------------------


def test_with_one_process_everything_is_the_identity(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    processes = join_processes()
    assert processes == Processes(0, 1)
    assert processes.is_first
    assert processes.share(5) == slice(0, 5, 1)
    vectors = torch.randn(3, 2, requires_grad=True)
    assert processes.gather(vectors, 3) is vectors
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.grad = torch.tensor([1.0, 2.0])
    processes.average_gradients([parameter])
    assert parameter.grad.tolist() == [1.0, 2.0]
    processes.broadcast([parameter])
    processes.close()
    assert not distributed.is_initialized()
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert join_processes() == Processes(0, 1)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("n", [0, 1, 5, 12])
def test_shares_have_each_row_once_and_differ_by_at_most_one(n, size):
    shares = [list(range(n)[Processes(rank, size).share(n)]) for rank in range(size)]
    assert sorted(row for share in shares for row in share) == list(range(n))
    lengths = [len(share) for share in shares]
    assert max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize(("name", "value"), [("RANK", None), ("LOCAL_RANK", "x"), ("WORLD_SIZE", "-2")])
def test_an_incomplete_environment_is_rejected(monkeypatch, name, value):
    for known in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.setenv(known, "2")
    if value is None:
        monkeypatch.delenv(name)
    else:
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=f"environment variable {name}: is '{value or ''}', expected a number"):
        join_processes()


def test_a_wrong_number_of_vectors_is_rejected():
    with pytest.raises(ValueError, match="process 1 of 2 returned 3 vectors, expected its share of 5, 2"):
        Processes(1, 2).gather(torch.zeros(3, 4), 5)


def test_more_processes_than_gpus_are_rejected(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=r"number 2 on a machine with 1 GPU, .*--nproc-per-node 1"):
        join_processes()

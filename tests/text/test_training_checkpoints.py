import copy
import logging
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from recsys.text.training.checkpoints import TrainingCheckpoint
from recsys.text.training.optimizer import make_optimizer, warm_up_then_cosine

STEPS = 12


class Best:
    """The best weights so far: an object with a state that is not a module."""

    def __init__(self) -> None:
        self.kept: dict[str, torch.Tensor] = {}

    def state_dict(self):
        return self.kept

    def load_state_dict(self, state):
        self.kept = dict(state)


class Training:
    """A small network with dropout, a frozen layer and batches from numpy."""

    def __init__(self, seed: int = 0, size: int = 4) -> None:
        torch.manual_seed(seed)
        self.net = nn.Sequential(nn.Linear(4, size), nn.Dropout(0.3), nn.LayerNorm(size), nn.Linear(size, 1))
        self.net[0].requires_grad_(False)
        self.best = Best()
        self.optimizer = make_optimizer([(self.net, 0.05)], 0.01)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, warm_up_then_cosine(STEPS, 0.3))
        self.rng = np.random.default_rng(seed)
        self.losses: list[float] = []

    @property
    def parts(self):
        return {"net": self.net, "best": self.best}

    def run(self, steps: int) -> None:
        for _ in range(steps):
            x = torch.from_numpy(self.rng.normal(size=(8, 4)).astype(np.float32))
            loss = ((self.net(x) - x.sum(1, keepdim=True)) ** 2).mean()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.scheduler.step()
            self.losses.append(float(loss.detach()))
            if loss.item() <= min(self.losses):
                self.best.kept = {name: value.clone() for name, value in self.net.state_dict().items()}

    def save(self, checkpoint: TrainingCheckpoint) -> None:
        rng = self.rng.bit_generator.state
        checkpoint.save(len(self.losses), self.parts, self.optimizer, self.scheduler, self.losses, {"rng": rng})

    def resume(self, checkpoint: TrainingCheckpoint) -> int:
        state = checkpoint.load(self.parts, self.optimizer, self.scheduler)
        if state is None:
            return 0
        self.losses, self.rng.bit_generator.state = state.losses, state.extra["rng"]
        return state.step


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def whole() -> Training:
    training = Training()
    training.run(STEPS)
    return training


def check_equal(training: Training, whole: Training) -> None:
    assert same(training.net.state_dict(), whole.net.state_dict())
    assert same(training.best.kept, whole.best.kept)
    assert training.losses == whole.losses


@pytest.mark.parametrize("after", [1, 5, 11])
def test_a_resumed_training_ends_with_the_same_bits(tmp_path, whole, after):
    first = Training()
    first.run(after)
    first.save(TrainingCheckpoint(tmp_path, "key"))
    second = Training()
    torch.manual_seed(99)
    assert second.resume(TrainingCheckpoint(tmp_path, "key")) == after
    second.run(STEPS - after)
    check_equal(second, whole)
    assert second.optimizer.param_groups[0]["lr"] == whole.optimizer.param_groups[0]["lr"]


def test_the_random_state_is_restored_too(tmp_path):
    training, checkpoint = Training(), TrainingCheckpoint(tmp_path, "key")
    training.run(2)
    training.save(checkpoint)
    expected = torch.rand(3)
    torch.manual_seed(5)
    training.resume(checkpoint)
    assert torch.equal(torch.rand(3), expected)


def test_frozen_parameters_are_not_written(tmp_path):
    training = Training()
    training.run(1)
    training.save(TrainingCheckpoint(tmp_path, "key"))
    (path,) = tmp_path.iterdir()
    parts = {name for name in load_file(path) if name.startswith("parts/net/")}
    assert parts == {f"parts/net/{name}" for name in ("2.weight", "2.bias", "3.weight", "3.bias")}


def test_a_training_without_a_checkpoint_starts_from_scratch(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        assert Training().resume(TrainingCheckpoint(tmp_path / "none", "key")) == 0
    assert not caplog.records
    assert not (tmp_path / "none").exists()


def written(folder: Path) -> Path:
    training = Training()
    training.run(3)
    training.save(TrainingCheckpoint(folder, "key"))
    (path,) = folder.iterdir()
    return path


def check_untouched(folder: Path, key: str, training: Training) -> None:
    """Nothing is loaded, and the training is unchanged."""
    before = copy.deepcopy(training.net.state_dict()), torch.get_rng_state()
    assert training.resume(TrainingCheckpoint(folder, key)) == 0
    assert same(training.net.state_dict(), before[0])
    assert torch.equal(torch.get_rng_state(), before[1])
    assert not training.optimizer.state


def test_a_checkpoint_of_another_run_is_ignored(tmp_path, caplog):
    written(tmp_path)
    with caplog.at_level(logging.INFO):
        check_untouched(tmp_path, "another", Training())
    assert [(record.levelname, "belongs to another run" in record.message) for record in caplog.records] == [
        ("INFO", True)
    ]


@pytest.mark.parametrize("keep", [0, 7, 100, 0.5, -1])
def test_a_truncated_file_is_ignored_with_a_warning(tmp_path, caplog, keep):
    path = written(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep) if isinstance(keep, float) else keep])
    check_untouched(tmp_path, "key", Training())
    assert [(record.levelname, "cannot be read" in record.message) for record in caplog.records] == [("WARNING", True)]


def test_a_foreign_or_mismatched_file_is_ignored_with_a_warning(tmp_path, caplog):
    path = written(tmp_path)
    check_untouched(tmp_path, "key", Training(size=5))
    assert "weights of 'net'" in caplog.text
    other = Training()
    other.optimizer = make_optimizer([(other.net[2], 0.05)], 0.01)
    check_untouched(tmp_path, "key", other)
    assert "optimiser has different parameters" in caplog.text
    torch.save({}, path)
    check_untouched(tmp_path, "key", Training())
    path.unlink()
    path.mkdir()
    check_untouched(tmp_path, "key", Training())
    assert len(caplog.records) == 4


def test_clearing_leaves_no_file(tmp_path):
    path = written(tmp_path)
    (tmp_path / f".{path.name}.tmp").write_bytes(b"left by a kill")
    checkpoint = TrainingCheckpoint(tmp_path, "key")
    checkpoint.clear()
    checkpoint.clear()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_logs_one_warning_and_keeps_the_old_checkpoint(tmp_path, caplog, whole):
    checkpoint, training = TrainingCheckpoint(tmp_path, "key"), Training()
    training.run(3)
    training.save(checkpoint)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        for _ in range(2):
            training.run(1)
            training.save(checkpoint)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "training continues without it" in caplog.text
    assert len(list(tmp_path.iterdir())) == 1
    second = Training()
    assert second.resume(checkpoint) == 3
    second.run(STEPS - 3)
    check_equal(second, whole)


def test_a_folder_that_cannot_be_created_logs_one_warning(tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    checkpoint, training = TrainingCheckpoint(tmp_path / "file" / "folder", "key"), Training()
    training.save(checkpoint)
    training.save(checkpoint)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    checkpoint.clear()


def test_kill_9_while_saving_never_mixes_two_steps(tmp_path):
    # Each save writes weights, moments and a loss that all equal the step.
    script = f"""
import itertools, sys
from pathlib import Path
import torch
from recsys.text.training.checkpoints import TrainingCheckpoint
net = torch.nn.Linear(500, 500)
optimizer = torch.optim.AdamW(net.parameters())
net(torch.zeros(1, 500)).sum().backward()
optimizer.step()
scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
checkpoint = TrainingCheckpoint(Path({str(tmp_path)!r}), "key")
for step in itertools.count(1):
    with torch.no_grad():
        for tensor in (*net.parameters(), *(moments["exp_avg"] for moments in optimizer.state.values())):
            tensor.fill_(step)
    checkpoint.save(step, {{"net": net}}, optimizer, scheduler, [step])
    print(step, flush=True)
"""
    for wait in (0.002, 0.017):
        process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for _ in range(3):
            process.stdout.readline()
        time.sleep(wait)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        net = nn.Linear(500, 500)
        optimizer = torch.optim.AdamW(net.parameters())
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
        state = TrainingCheckpoint(tmp_path, "key").load({"net": net}, optimizer, scheduler)
        assert state is not None
        assert state.step >= 3
        assert state.losses == [state.step]
        assert all(bool((tensor == state.step).all()) for tensor in net.parameters())
        assert all(bool((moments["exp_avg"] == state.step).all()) for moments in optimizer.state.values())

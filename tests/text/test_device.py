from pathlib import Path

import torch

import recsys
from recsys.text.device import pick_device, seeded


def test_the_gpu_is_used_if_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device().type == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device().type == "cpu"


def test_seeding_does_not_change_the_callers_random_state():
    before = torch.get_rng_state()
    with seeded(3, torch.device("cpu")):
        first = torch.rand(2)
    with seeded(3, torch.device("cpu")):
        assert torch.equal(torch.rand(2), first)
    assert torch.equal(torch.get_rng_state(), before)


def test_nothing_else_asks_whether_there_is_a_gpu():
    package = Path(recsys.__file__).parent
    asking = [path for path in package.rglob("*.py") if "is_available()" in path.read_text("utf-8")]
    assert [path.relative_to(package).as_posix() for path in asking] == ["text/device.py"]

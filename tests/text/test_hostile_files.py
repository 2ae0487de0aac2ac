"""Files that run a program when a careless reader opens them, at places that recsys reads."""

import json
import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.config import load_config
from recsys.errors import CheckpointError, ConfigError
from recsys.storage.array_cache import ArrayCache
from recsys.storage.files import hash_file
from recsys.text.checkpoint import load_pretrained


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = str(sentinel)

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (self.sentinel, "w"))


@pytest.fixture
def sentinel(tmp_path):
    path = tmp_path / "executed"
    pickle.loads(pickle.dumps(Trap(path))).close()
    assert path.exists()
    path.unlink()
    yield path
    assert not path.exists()


def test_weights_as_a_pickle_are_not_read(write_checkpoint, sentinel):
    folder = write_checkpoint()
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Trap(sentinel)))
    with pytest.raises(CheckpointError, match=r"no model\.safetensors"):
        load_pretrained(str(folder))


def test_a_pickle_named_safetensors_is_an_error(write_checkpoint, sentinel):
    folder = write_checkpoint()
    (folder / "model.safetensors").write_bytes(pickle.dumps(Trap(sentinel)))
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Trap(sentinel)))
    with pytest.raises(CheckpointError, match="no model could be loaded"):
        load_pretrained(str(folder))


def test_code_in_a_checkpoint_is_not_run(write_checkpoint, sentinel):
    folder = write_checkpoint()
    (folder / "trap.py").write_text(f"open({str(sentinel)!r}, 'w')\nclass Model: ...\n")
    for name, key in (("config.json", "AutoModel"), ("tokenizer_config.json", "AutoTokenizer")):
        path = folder / name
        settings = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps({**settings, "auto_map": {key: "trap.Model", "AutoConfig": "trap.Model"}}))
    # It is a known family, so its own code is neither needed nor run.
    load_pretrained(str(folder))


def test_objects_in_a_cache_are_dropped(tmp_path, sentinel, caplog):
    folder = tmp_path / "cache" / ("0" * 64)
    folder.mkdir(parents=True)
    np.save(folder / "x.npy", np.array([Trap(sentinel)], dtype=object), allow_pickle=True)
    file = folder / "x.npy"
    file = file.rename(folder / f"x-{hash_file(file)}.npy")
    with caplog.at_level(logging.WARNING):
        _, known = ArrayCache(tmp_path / "cache", "0" * 64, 1, 2).look_up(np.zeros((1, 1), np.uint64))
    assert not known.any()
    assert "1 damaged file" in caplog.text


def test_a_config_makes_no_objects(tmp_path, sentinel):
    path = tmp_path / "trap.yaml"
    path.write_text(f"name: !!python/object/apply:builtins.open [{str(sentinel)!r}, w]\n")
    with pytest.raises(ConfigError, match="is not valid YAML"):
        load_config(path)

"""Files that run a program when a careless reader opens them, at places that recsys reads."""

import json
import logging
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from miniature import Trained

from recsys.config import load_config
from recsys.config.raw_files import RawFiles
from recsys.dataset.raw.reading import read_all
from recsys.errors import ArtifactError, CheckpointError, ConfigError
from recsys.pipelines.promote import load_champion
from recsys.serving.bundle import Bundle
from recsys.storage.array_cache import ArrayCache
from recsys.storage.files import hash_file, read_parquet
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


@pytest.mark.parametrize("name", ["ease.npz", "item_to_item.npz", "tfidf.npz", "transitions.npz"])
def test_objects_in_a_bundle_are_not_made(trained: Trained, tmp_path: Path, sentinel: Path, name: str) -> None:
    (source,) = (path for path in trained.home.rglob("artifacts/bundle") if path.is_dir())
    folder = tmp_path / "bundle"
    shutil.copytree(source, folder, copy_function=os.link)
    with np.load(folder / name, allow_pickle=False) as arrays:
        content = dict.fromkeys(arrays.files, np.array([Trap(sentinel)], dtype=object))
    (folder / name).unlink()
    np.savez(folder / name, **content)
    with pytest.raises((ArtifactError, ValueError)):
        Bundle.load(folder)


def test_a_pickled_model_next_to_a_bundle_is_not_read(trained: Trained, trained_copy: Path, sentinel: Path) -> None:
    (settings,) = trained_copy.rglob("MLmodel")
    (settings.parent / "python_model.pkl").write_bytes(pickle.dumps(Trap(sentinel)))
    content = yaml.safe_load(settings.read_text("utf-8"))
    flavor = content["flavors"]["python_function"]
    flavor.pop("model_code_path", None)
    content["flavors"]["python_function"] = {**flavor, "python_model": "python_model.pkl"}
    settings.write_text(yaml.safe_dump(content), "utf-8")
    _, bundle = load_champion(trained.config, trained_copy)
    assert bundle.items.height


def test_a_pickled_type_in_parquet_is_not_made(tmp_path: Path, sentinel: Path) -> None:
    """Old versions of pyarrow unpickled types of their extension for Python from the metadata of a column."""
    hostile = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": pickle.dumps(Trap(sentinel), 0),
    }
    fields = [pa.field("id", pa.string(), metadata=hostile)]
    schema = pa.schema(fields, metadata={b"pandas": pickle.dumps(Trap(sentinel), 0)})
    path = tmp_path / "trap.parquet"
    pq.write_table(pa.table({"id": ["a"]}, schema=schema), path)
    assert read_parquet(path)["id"].to_list() == ["a"]
    assert read_all("items", RawFiles(path=str(path)), {"id": "id"})["id"].to_list() == ["a"]

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from miniature import Trained, read_files

from recsys.errors import ArtifactError, RecsysError, RegistryError
from recsys.pipelines import export as export_module
from recsys.pipelines import search as search_module
from recsys.pipelines.export import export_encoder, summarise_export
from recsys.serving.bundle import Bundle
from recsys.storage.folders import verify_folder
from recsys.text.export import MODEL, OnnxEncoder
from recsys.text.item_text import make_texts

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture
def loaded(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    """The champion's bundle, loaded once for all calls."""
    monkeypatch.setattr(search_module, "load_bundle", lambda *_: bundle)
    return bundle


def test_the_champion_is_exported_and_compared(trained: Trained, bundle: Bundle, tmp_path: Path):
    before = read_files(trained.home)
    exported = export_encoder(trained.config, trained.home, tmp_path / "deep" / "out")
    assert read_files(trained.home) == before

    assert exported.folder == tmp_path / "deep" / "out"
    assert [path.name for path in exported.folder.parent.iterdir()] == ["out"]
    assert (exported.version, exported.int8, exported.texts) == ("1", False, bundle.items.height)
    assert exported.megabytes == pytest.approx((exported.folder / MODEL).stat().st_size / 1e6)

    texts = make_texts(bundle.items, bundle.config.text.fields).to_list()
    ours, theirs = bundle.encoder.encode(texts), OnnxEncoder(exported.folder).encode(texts)
    cosines = (ours * theirs).sum(1)
    assert exported.lowest_cosine == pytest.approx(cosines.min(), abs=1e-4)
    assert exported.mean_cosine == pytest.approx(cosines.mean(), abs=1e-4)
    # The encoder may compute in bfloat16 here.
    assert exported.lowest_cosine > 0.999
    assert exported.neighbours_kept > 0.9

    manifest = verify_folder(exported.folder, "")
    assert {key: manifest[key] for key in ("model", "version", "int8", "texts")} == {
        "model": "recsys",
        "version": "1",
        "int8": False,
        "texts": exported.texts,
    }
    assert manifest["neighbours_kept"] == exported.neighbours_kept
    assert json.loads((exported.folder / "encoder.json").read_text())["encoder"] == bundle.encoder.digest()


@pytest.mark.usefixtures("loaded")
def test_int8_replaces_an_older_export(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(export_module, "_SAMPLE", 7)
    out = tmp_path / "out"
    out.mkdir()
    first = export_encoder(trained.config, trained.home, out)
    # Files of the older export are gone.
    (out / "left over").touch()
    second = export_encoder(trained.config, trained.home, out, int8=True)
    assert (first.texts, second.texts) == (7, 7)
    assert second.megabytes < 0.3 * first.megabytes
    assert 0.9 < second.lowest_cosine < second.mean_cosine < 0.9999
    assert verify_folder(out, "")["int8"] is True
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert summarise_export(second) == [
        f"{out}: version 1 as int8 ONNX, {second.megabytes:.1f} MB",
        f"compared with the encoder on 7 texts of the catalogue: lowest cosine {second.lowest_cosine:.4f}, "
        f"mean {second.mean_cosine:.4f}, {second.neighbours_kept:.1%} of the ten nearest neighbours kept",
    ]


def test_the_sample_is_the_same_each_time(bundle: Bundle, monkeypatch: pytest.MonkeyPatch):
    everything = make_texts(bundle.items, bundle.config.text.fields).to_list()
    assert export_module._draw_texts(bundle) == everything
    monkeypatch.setattr(export_module, "_SAMPLE", 20)
    drawn = export_module._draw_texts(bundle)
    assert drawn == export_module._draw_texts(bundle)
    assert len(drawn) == 20
    assert drawn not in (everything[:20], everything[-20:])
    assert set(drawn) <= set(everything)


# --- errors -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("loaded")
@pytest.mark.parametrize("kind", ["file", "folder", "other manifest"])
def test_nothing_else_is_replaced(trained: Trained, tmp_path: Path, kind: str):
    out = tmp_path / "out"
    if kind == "file":
        out.write_text("mine")
    else:
        out.mkdir()
        (out / ("manifest.json" if kind == "other manifest" else "letters.txt")).write_text("{}")
    before = read_files(tmp_path)
    with pytest.raises(ArtifactError, match=r"exists and is not an export.*choose another --out"):
        export_encoder(trained.config, trained.home, out)
    assert read_files(tmp_path) == before


@pytest.mark.usefixtures("loaded")
def test_a_failure_leaves_the_older_export(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(export_module, "_SAMPLE", 1)
    out = tmp_path / "out"
    export_encoder(trained.config, trained.home, out)
    before = read_files(out)

    def fail(*_: object) -> np.ndarray:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(OnnxEncoder, "encode", fail)
    with pytest.raises(ArtifactError, match="No space left on device"):
        export_encoder(trained.config, trained.home, out)
    assert read_files(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_without_the_extra_nothing_is_written(
    trained: Trained, loaded: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(RecsysError, match=r"pip install 'nightly-recsys\[export\]'"):
        export_encoder(trained.config, trained.home, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_no_store_and_no_such_alias(trained: Trained, tmp_path: Path):
    with pytest.raises(RegistryError, match=r"no MLflow store in .* run 'recsys train' first"):
        export_encoder(trained.config, tmp_path / "home", tmp_path / "out")
    with pytest.raises(RegistryError, match="no version has the alias 'nobody'"):
        export_encoder(trained.config, trained.home, tmp_path / "out", alias="nobody")
    assert list(tmp_path.iterdir()) == []

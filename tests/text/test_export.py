import copy
import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from recsys.config import TextConfig
from recsys.errors import CheckpointError, ConfigError, RecsysError
from recsys.text.distillation import prune_layers
from recsys.text.encoder import Encoder
from recsys.text.export import MODEL, OnnxEncoder, export_onnx, measure_agreement

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

CONFIG = TextConfig(max_tokens=16, precision="float32")
# Whatever a catalogue contains, the vectors should equal those of torch.
TEXTS = [
    "A crew drifts between stars, far from home",
    "",
    "bread",
    "长夜 🎬",
    "שלום עולם مرحبا",
    "a crew\0lost\0in space",
    "half a character \ud83d",
    "bread flour " * 5_000,
    *(f"{word} number {number}" for number, word in enumerate(["anchor", "violin", "cactus", "ladder"] * 3)),
]


@pytest.fixture(scope="module")
def exported(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_onnx(encoder, tmp_path_factory.mktemp("export") / "new" / "fp32", int8=False).parent


@pytest.fixture(scope="module")
def quantised(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_onnx(encoder, tmp_path_factory.mktemp("export") / "int8", int8=True).parent


def test_vectors_are_those_of_the_encoder(encoder, exported):
    done: list[int] = []
    vectors = OnnxEncoder(exported).encode(TEXTS, done.append)
    assert sum(done) == len(TEXTS)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, encoder.encode(TEXTS), atol=1e-5)


@pytest.mark.parametrize("batch_tokens", [1, 70, 100_000])
def test_any_batch_size_and_length_works(encoder, exported, batch_tokens):
    """One at a time, in small batches, all at once: no size of the traced example is fixed in the file."""
    vectors = OnnxEncoder(exported, batch_tokens).encode(TEXTS)
    np.testing.assert_allclose(vectors, encoder.encode(TEXTS), atol=1e-5)
    assert OnnxEncoder(exported, batch_tokens).encode([]).shape == (0, 384)


def test_the_settings_describe_the_export(encoder, exported, quantised):
    files = {path.name for path in exported.iterdir()}
    assert {MODEL, "encoder.json", "tokenizer.json", "tokenizer_config.json"} <= files
    expected = {"max_tokens": encoder.max_tokens, "embedding_size": 384, "encoder": encoder.digest()}
    assert json.loads((exported / "encoder.json").read_text()) == {**expected, "int8": False}
    assert json.loads((quantised / "encoder.json").read_text()) == {**expected, "int8": True}


def test_int8_is_a_quarter_of_the_size_and_close(encoder, exported, quantised):
    sizes = [(folder / MODEL).stat().st_size for folder in (quantised, exported)]
    assert sizes[0] < 0.3 * sizes[1]
    agreement = measure_agreement(OnnxEncoder(quantised).encode(TEXTS), encoder.encode(TEXTS))
    # One scale per matrix instead of one per channel would bring the mean down to about 0.95.
    assert agreement.mean_cosine > 0.98
    assert agreement.lowest_cosine > 0.95
    assert agreement.neighbours_kept > 0.8


def test_the_file_alone_is_a_complete_encoder(encoder, exported):
    """It can be used without recsys: tokens in, unit vectors out."""
    import onnxruntime

    session = onnxruntime.InferenceSession(exported / MODEL, providers=["CPUExecutionProvider"])
    assert [(tensor.name, tensor.shape) for tensor in session.get_inputs()] == [
        ("input_ids", ["batch", "tokens"]),
        ("attention_mask", ["batch", "tokens"]),
    ]
    tokens = np.array(encoder.tokenize(["bread"]))
    (vectors,) = session.run(["vectors"], {"input_ids": tokens, "attention_mask": np.ones_like(tokens)})
    np.testing.assert_allclose(vectors, encoder.encode(["bread"]), atol=1e-5)


def test_the_encoder_is_not_changed(encoder, exported, quantised):
    copied = copy.deepcopy(encoder)
    before = copied.digest()
    assert before == encoder.digest()
    assert all(value.requires_grad for value in encoder.model.parameters())
    assert not any(module.training for module in encoder.model.modules())


@pytest.mark.parametrize("family", ["bert", "roberta", "electra"])
@pytest.mark.parametrize("int8", [False, True])
def test_other_families_and_students(write_checkpoint, tmp_path, family, int8):
    more = {"embedding_size": 8} if family == "electra" else {"pad_token_id": 0}
    whole = Encoder(str(write_checkpoint(family=family, num_hidden_layers=3, **more)), CONFIG)
    student = prune_layers(whole, 2)
    texts = ["abc", "a b c d e f", "", "hgfedcba" * 9]
    vectors = OnnxEncoder(export_onnx(student, tmp_path / "out", int8=int8).parent).encode(texts)
    assert (vectors * student.encode(texts)).sum(1).min() > (0.98 if int8 else 0.99999)


@pytest.mark.parametrize("pooling", ["mean", "cls", "attention"])
@pytest.mark.parametrize("projection", [None, 8])
def test_pooling_and_projection_are_in_the_file(write_checkpoint, tmp_path, pooling, projection):
    encoder = Encoder(str(write_checkpoint()), CONFIG.model_copy(update={"pooling": pooling}))
    texts = ["abc", "a b c d e f", "", "hgfedcba" * 9]
    with torch.no_grad():
        for value in encoder.head.parameters():
            value.normal_(generator=torch.Generator().manual_seed(0))
    if projection:
        encoder.project(encoder.encode(texts), projection)
    vectors = OnnxEncoder(export_onnx(encoder, tmp_path / "out", int8=False).parent).encode(texts)
    assert vectors.shape == (4, projection or 16)
    np.testing.assert_allclose(vectors, encoder.encode(texts), atol=1e-5)


def test_equal_encoders_give_equal_bytes(write_checkpoint, tmp_path):
    folder = str(write_checkpoint())
    for int8 in (False, True):
        paths = [export_onnx(Encoder(folder, CONFIG), tmp_path / f"{int8}{copy}", int8=int8) for copy in "ab"]
        assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_bfloat16_encoder_is_exported_in_float32(write_checkpoint, tmp_path):
    folder = str(write_checkpoint())
    half, full = (Encoder(folder, CONFIG.model_copy(update={"precision": name})) for name in ("bfloat16", "float32"))
    vectors = OnnxEncoder(export_onnx(half, tmp_path / "out", int8=False).parent).encode(["abc", "d"])
    np.testing.assert_allclose(vectors, full.encode(["abc", "d"]), atol=1e-6)


# --- errors ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_extra_is_named(write_checkpoint, tmp_path, monkeypatch, package):
    encoder = Encoder(str(write_checkpoint()), CONFIG)
    export_onnx(encoder, tmp_path / "whole", int8=False)
    # What Python does if a package is not installed.
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(package)
    with pytest.raises(
        RecsysError, match=rf"package {package} is not installed; run pip install 'nightly-recsys\[export\]'"
    ):
        export_onnx(encoder, tmp_path / "out", int8=False)
    assert not (tmp_path / "out").exists()
    if package == "onnxruntime":
        with pytest.raises(RecsysError, match=r"pip install 'nightly-recsys\[export\]'"):
            OnnxEncoder(tmp_path / "whole")


@pytest.mark.parametrize("file", [MODEL, "encoder.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", [None, b"", b"\x00 no such file \xff"])
def test_a_missing_or_damaged_file_is_an_error(write_checkpoint, tmp_path, file, content):
    folder = export_onnx(Encoder(str(write_checkpoint()), CONFIG), tmp_path / "out", int8=False).parent
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(content)
    reason = f"no {file}" if content is None else "cannot be read"
    with pytest.raises(CheckpointError, match=rf"exported encoder {folder}: {reason}.*export the encoder again"):
        OnnxEncoder(folder)


def test_weights_too_large_for_one_file_are_rejected(write_checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr("recsys.text.export._MAX_BYTES", 1_000)
    with pytest.raises(ConfigError, match="an ONNX file holds"):
        export_onnx(Encoder(str(write_checkpoint()), CONFIG), tmp_path / "out", int8=False)


# --- agreement -------------------------------------------------------------------------------------------


def unit(angles: list[float]) -> np.ndarray:
    return np.stack([np.cos(np.radians(angles)), np.sin(np.radians(angles))], axis=1).astype(np.float32)


def test_agreement_worked_out_by_hand(monkeypatch):
    monkeypatch.setattr("recsys.text.export._NEIGHBOURS", 1)
    # The nearest of 0, 10, 50, 55 degrees are 10, 0, 55, 50. Then 10 moves to 49: those of 0 and 55 are still what
    # they were (10 and 50), those of 10 and 50 become each other.
    agreement = measure_agreement(unit([0, 49, 50, 55]), unit([0, 10, 50, 55]))
    assert agreement.neighbours_kept == 0.5
    assert agreement.lowest_cosine == pytest.approx(np.cos(np.radians(39)), abs=1e-6)
    assert agreement.mean_cosine == pytest.approx((3 + np.cos(np.radians(39))) / 4, abs=1e-6)


@pytest.mark.parametrize("count", [1, 2, 10, 11, 40])
def test_equal_vectors_agree_completely(count):
    vectors = unit(list(np.linspace(0, 300, count)))
    agreement = measure_agreement(vectors, vectors)
    assert (agreement.lowest_cosine, agreement.mean_cosine) == pytest.approx((1, 1), abs=1e-6)
    assert agreement.neighbours_kept == 1

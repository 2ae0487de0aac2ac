"""One rule picks the device, and every part that computes with torch follows it: a pretended GPU shows it."""

import ast
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pretended_gpu import GPU, OnGpu, pretend_gpu
from worlds import checkerboard

import recsys
from recsys.candidates.block_products import multiply
from recsys.config import AdaptationConfig, DistillationConfig, FineTuneConfig, InterestConfig, TextConfig
from recsys.dataset.histories import build_histories
from recsys.errors import ConfigError
from recsys.text import device
from recsys.text.device import (
    claim_device,
    has_fast_bfloat16,
    keep_on,
    pick_device,
    products_in,
    read_random_states,
    restore_random_states,
    seeded,
)
from recsys.text.distillation import distil, prune_layers
from recsys.text.encoder import Encoder
from recsys.text.interest import InterestModel
from recsys.text.masked_language import adapt
from recsys.text.training.checkpoints import TrainingCheckpoint
from recsys.text.training.data import FineTuningData
from recsys.text.training.fine_tuning import Runtime, fine_tune
from recsys.text.training.layer_inputs import freeze_states, tokenize_texts

TEXTS = [f"{first} {second}" for first in "abcde" for second in "efgh"]
Part = Callable[[Path, Path], Any]


# --- the rule ----------------------------------------------------------------------------------------------


def test_the_gpu_is_used_if_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device().type == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device().type == "cpu"


def test_emulated_bfloat16_is_not_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    assert not has_fast_bfloat16(GPU)


def test_products_have_the_precision_asked_for() -> None:
    cpu, ones = torch.device("cpu"), torch.ones(2, 2)
    with products_in("bfloat16", cpu):
        assert (ones @ ones).dtype == torch.bfloat16
        with products_in("float32", cpu):
            assert (ones @ ones).dtype == torch.float32


def _find_device_names(tree: ast.AST) -> list[str]:
    """Return what names a kind of device or asks for one, outside type annotations and error messages."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("torch.cuda", "torch.accelerator", "torch.mps"):
            found.append(ast.unparse(node))
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in ("torch.device", "torch.autocast", "torch.amp.autocast", "device") or name.endswith(".cuda"):
                found.append(name)
            given = [each.value for each in node.keywords if each.arg in ("device", "map_location", "device_type")]
            given += node.args[:1] if name.endswith(".to") else []
            # A tensor on the meta device has no values, so it is nowhere.
            found += [
                str(each.value)
                for each in given
                if isinstance(each, ast.Constant) and isinstance(each.value, str) and each.value != "meta"
            ]
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("torch.cuda", "torch.amp")):
            found.append(str(node.module))
    return found


def test_no_other_module_names_a_device() -> None:
    package = Path(recsys.__file__).parent
    found = {
        path.relative_to(package).as_posix(): names
        for path in package.rglob("*.py")
        if (names := _find_device_names(ast.parse(path.read_text("utf-8"))))
    }
    assert found.keys() == {"text/device.py"}
    code = 'torch.autocast("cpu"); x.to("cuda"); torch.zeros(3, device="cuda"); torch.cuda.empty_cache(); x.cuda()'
    assert len(_find_device_names(ast.parse(code))) == 5


# --- every part follows it -----------------------------------------------------------------------------------


def _write(folder: Path) -> Path:
    """Write a tiny BERT without dropout."""
    from transformers import BertConfig, BertModel, BertTokenizer

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh"]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=len(words),
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            initializer_range=0.1,
        )
        BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    BertTokenizer({word: number for number, word in enumerate(words)}).save_pretrained(folder)
    return folder


def _load(folder: Path, **settings: Any) -> Encoder:
    return Encoder(str(folder), TextConfig(max_tokens=8, precision="float32", **settings))


def _encode(folder: Path, scratch: Path) -> Any:
    encoder = _load(folder, pooling="attention")
    vectors = encoder.encode(TEXTS)
    encoder.project(vectors, 8)
    encoder.save(scratch / "saved")
    again = _load(scratch / "saved")
    assert again.digest() == encoder.digest()
    return again.encode(TEXTS)


def _fine_tune(method: str, **settings: Any) -> Part:
    def run(folder: Path, scratch: Path) -> Any:
        items, interactions = checkerboard(users=40, items=20)
        histories = build_histories(interactions, items, None)
        encoder = _load(folder)
        inputs = tokenize_texts(encoder, TEXTS) if method == "full" else freeze_states(encoder, TEXTS, 1)
        config = FineTuneConfig(method=method, epochs=2, batch_size=8, checkpoint_steps=2, **settings)
        factors = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
        checkpoint = TrainingCheckpoint(scratch, "key")
        done = fine_tune(encoder, FineTuningData(inputs, histories, factors), config, 7, Runtime(checkpoint))
        return np.concatenate([done.embeddings.ravel(), done.losses, done.recalls])

    return run


def _adapt(folder: Path, scratch: Path) -> Any:
    return adapt(_load(folder), TEXTS, AdaptationConfig(epochs=2), 256, 0)


def _distil(folder: Path, scratch: Path) -> Any:
    teacher = _load(folder)
    student = prune_layers(teacher, 1)
    losses = distil(teacher.encode(TEXTS), student, TEXTS, DistillationConfig(layers=1, epochs=2), 256, 0)
    return np.concatenate([losses, student.encode(TEXTS).ravel()])


def _interest(**settings: Any) -> Part:
    def run(folder: Path, scratch: Path) -> Any:
        items, interactions = checkerboard(users=40, items=20)
        histories = build_histories(interactions, items, None)
        embeddings = _unit(20)
        config = InterestConfig(epochs=2, batch_size=8, **settings)
        texts = items["item_id"]
        older = InterestModel(16, config)
        older.fit(histories, embeddings, 0, texts=texts)
        model = InterestModel(16, config)
        model.fit(histories, embeddings, 1, texts=texts, start=older)
        model.save(scratch / "model")
        loaded = InterestModel.load(scratch / "model", items["item_id"], config).with_term_vectors(texts)
        turned = items["item_id"].reverse()
        aligned = loaded.align(turned).with_term_vectors(texts.reverse()).item_vectors(embeddings[::-1].copy())
        vectors = loaded.item_vectors(embeddings)
        np.testing.assert_allclose(aligned[::-1], vectors, atol=1e-6)
        return multiply(loaded.user_vectors(histories, vectors), vectors)

    return run


def _unit(rows: int) -> NDArray[np.float32]:
    vectors = np.random.default_rng(1).normal(size=(rows, 16)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


PARTS: dict[str, Part] = {
    "encoding": _encode,
    "full fine-tuning": _fine_tune("full", objectives={"next_item": 1.0, "co_interaction": 1.0, "cf_alignment": 1.0}),
    "fine-tuning of the top layer": _fine_tune("layers", adversarial=0.1, log_q=True),
    "adapters": _fine_tune("lora"),
    "ranked adapters": _fine_tune("adalora"),
    "adaptation": _adapt,
    "distillation": _distil,
    "interest model": _interest(residual=True, hashed_terms=64, event_weights=True),
    "attention tower": _interest(tower="attention"),
    "transformer tower": _interest(size=8, tower="transformer"),
}


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_every_part_computes_on_the_gpu_what_it_computes_on_the_cpu(part: Part, tmp_path: Path) -> None:
    folder = _write(tmp_path / "tiny")
    (tmp_path / "cpu").mkdir()
    expected = np.asarray(part(folder, tmp_path / "cpu"))
    (tmp_path / "gpu").mkdir()
    with pretend_gpu() as gpu:
        found = np.asarray(part(folder, tmp_path / "gpu"))
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-5)
    assert sum(gpu.operations.values()) > 20
    assert gpu.missed == set()


def test_the_pretended_gpu_refuses_what_a_gpu_refuses() -> None:
    with pretend_gpu() as gpu:
        here, there = torch.ones(2), torch.ones(2).to("cuda")
        assert isinstance(there, OnGpu)
        for forbidden in (lambda: here + there, lambda: torch.cat([here, there]), there.numpy):
            with pytest.raises((RuntimeError, TypeError), match="device"):
                forbidden()
        torch.nn.functional.linear(here[None], here[None])
        assert (there + 1).cpu().tolist() == [2, 2]
    assert gpu.missed == {"linear"}


# --- seeds, states, arrays that stay -------------------------------------------------------------------------


def test_seeding_does_not_change_the_callers_random_state() -> None:
    before = torch.get_rng_state()
    with seeded(3, torch.device("cpu")):
        first = torch.rand(2)
    with seeded(3, torch.device("cpu")):
        assert torch.equal(torch.rand(2), first)
    assert torch.equal(torch.get_rng_state(), before)


def test_random_states_come_back_also_on_a_machine_without_the_gpu() -> None:
    with pretend_gpu():
        states = read_random_states()
        drawn = torch.rand(3)
        torch.cuda.set_rng_state(torch.ones(8, dtype=torch.uint8))
        restore_random_states(states)
        assert torch.equal(torch.cuda.get_rng_state(), states["cuda"])
        assert torch.equal(torch.rand(3), drawn)
    assert states.keys() == {"cpu", "cuda"}
    restore_random_states(states)
    assert torch.equal(torch.rand(3), drawn)


def test_each_process_claims_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert claim_device(5).type == "cpu"
    claimed: list[int] = []
    monkeypatch.setattr(torch.cuda, "set_device", claimed.append)
    with pretend_gpu():
        assert claim_device(0).type == "cuda"
        with pytest.raises(ConfigError, match=r"number 2 on a machine with 1 GPU, .*--nproc-per-node 1"):
            claim_device(1)
    assert claimed == [0]


def test_a_gpu_keeps_an_array_as_long_as_it_exists() -> None:
    array = np.ones((2, 3), dtype=np.float32)
    assert np.shares_memory(keep_on(torch.device("cpu"), array).numpy(), array)
    assert not device._kept
    with pretend_gpu():
        kept = keep_on(GPU, array)
        assert isinstance(kept, OnGpu)
        assert keep_on(GPU, array) is kept
        other = np.zeros((2, 3), dtype=np.float32)
        assert not keep_on(GPU, other).cpu().any()
    assert len(device._kept) == 2
    del array, other
    gc.collect()
    assert not device._kept

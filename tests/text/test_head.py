import json
import logging

import numpy as np
import pytest
import torch

from recsys.config import TextConfig
from recsys.errors import CheckpointError
from recsys.text.head import AttentionPooling, Head

HIDDEN = torch.tensor([[[3.0, 0.0], [3.0, 8.0], [99.0, 99.0]], [[0.0, 4.0], [5.0, 5.0], [5.0, 5.0]]])
MASK = torch.tensor([[True, True, False], [True, False, False]])


# --- pooling ---------------------------------------------------------------------------------------------


def test_mean_ignores_padding():
    assert Head("mean", 2)(HIDDEN, MASK).tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0.0, 1.0]]


def test_cls_is_the_first_token():
    assert Head("cls", 2)(HIDDEN, MASK).tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_attention_starts_as_the_mean_and_then_weighs_tokens():
    head = Head("attention", 2)
    torch.testing.assert_close(head(HIDDEN, MASK), Head("mean", 2)(HIDDEN, MASK))
    # The second token scores ln 3 more than the first, so its weight is three quarters.
    head.attention.direction.data = torch.tensor([0.0, float(np.log(3.0)) / 8])
    expected = torch.tensor([3.0, 6.0])
    torch.testing.assert_close(head(HIDDEN, MASK)[0], expected / expected.norm())
    head(HIDDEN, MASK)[0, 0].backward()
    assert head.attention.direction.grad.abs().max() > 0


@pytest.mark.parametrize("pooling", ["mean", "cls", "attention"])
def test_a_text_without_tokens_has_zeros(pooling):
    assert Head(pooling, 2)(HIDDEN, torch.zeros_like(MASK)).tolist() == [[0.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize("pooling", ["mean", "cls", "attention"])
def test_vectors_are_exact_under_autocast(pooling):
    head = Head(pooling, 8)
    head.add_projection(np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32), 3)
    hidden = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        vectors = head(hidden, MASK)
    assert vectors.dtype == torch.float32
    assert torch.equal(vectors, head(hidden, MASK))
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2))


# --- projection ------------------------------------------------------------------------------------------


def test_axes_are_the_principal_axes():
    # The largest variation is along (0, 0.6, -0.8), the rest along x.
    vectors = np.array([[0, 6, -8], [0, -3, 4], [1, 0, 0]], dtype=np.float32)
    head = Head("cls", 3)
    head.add_projection(vectors, 2)
    assert head.embedding_size == 2
    np.testing.assert_allclose(head.projection.weight.detach(), [[0, -0.6, 0.8], [1, 0, 0]], atol=1e-6)


def test_a_full_set_of_axes_preserves_every_cosine():
    vectors = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    head = Head("cls", 6)
    head.add_projection(unit, 6)
    projected = head(torch.from_numpy(vectors)[:, None], torch.ones(50, 1, dtype=torch.bool)).detach().numpy()
    np.testing.assert_allclose(projected @ projected.T, unit @ unit.T, atol=1e-5)


def test_a_projection_draws_no_random_numbers_and_works_without_vectors():
    before = torch.get_rng_state()
    head = Head("mean", 4)
    head.add_projection(np.zeros((0, 4), dtype=np.float32), 2)
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_allclose(np.linalg.norm(head.projection.weight.detach(), axis=1), 1.0)
    assert [name for name, _ in head.named_parameters()] == ["projection.weight"]


# --- files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pooling", ["mean", "cls", "attention"])
@pytest.mark.parametrize("size", [None, 2])
def test_a_saved_head_takes_precedence_over_the_settings(tmp_path, caplog, pooling, size):
    head = Head(pooling, 4)
    if pooling == "attention":
        head.attention.direction.data = torch.tensor([0.1, 0.2, 0.3, 0.4])
    if size:
        head.add_projection(np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32), size)
    entries = head.save(tmp_path)
    assert [entry["idx"] for entry in entries] == list(range(1, len(entries) + 1))
    assert all((tmp_path / entry["path"]).is_dir() for entry in entries)

    again = Head.load(str(tmp_path), 4, TextConfig(pooling=pooling, projection=size))
    assert caplog.records == []
    assert again.pooling == pooling
    assert again.embedding_size == (size or 4)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in head.state_dict().items())

    other = Head.load(str(tmp_path), 4, TextConfig(pooling="cls" if pooling == "mean" else "mean", projection=3))
    assert other.pooling == pooling
    assert other.embedding_size == again.embedding_size
    assert f"was trained with {pooling}; using the checkpoint's" in caplog.messages[0]
    assert len(caplog.records) == (2 if size else 1)


@pytest.mark.parametrize(
    "content",
    [
        {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False, "include_prompt": True},
        {"pooling_mode": "cls", "include_prompt": True},
    ],
)
def test_another_pooling_of_sentence_transformers_is_logged_not_used(tmp_path, caplog, content):
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(content))
    with caplog.at_level(logging.WARNING):
        assert Head.load(str(tmp_path), 4, TextConfig()).pooling == "mean"
    assert caplog.messages == [
        f"text.pooling is mean, but checkpoint '{tmp_path}' was trained with cls; using the setting"
    ]
    caplog.clear()
    assert Head.load(str(tmp_path), 4, TextConfig(pooling="cls")).pooling == "cls"
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda folder: (folder / "recsys_head.json").write_text("{"), "Expecting property name"),
        (lambda folder: (folder / "recsys_head.json").write_text('{"pooling": "max"}'), "projection"),
        (
            lambda folder: (folder / "recsys_head.json").write_text('{"pooling": "max", "projection": null}'),
            "unknown pooling",
        ),
        (lambda folder: (folder / "2_Dense" / "model.safetensors").unlink(), "no 2_Dense/model.safetensors"),
        (lambda folder: (folder / "1_Pooling" / "model.safetensors").write_bytes(b"torn"), "header"),
        (lambda folder: Head("attention", 5).save(folder), r"direction in 1_Pooling has the shape \(5,\), not \(4,\)"),
        (lambda folder: AttentionPooling(5).save(str(folder / "1_Pooling")), "not"),
    ],
)
def test_inconsistent_files_are_one_clear_error(tmp_path, damage, reason):
    head = Head("attention", 4)
    head.add_projection(np.eye(4, dtype=np.float32), 2)
    head.save(tmp_path)
    damage(tmp_path)
    with pytest.raises(CheckpointError, match=rf"checkpoint '.*': its pooling and projection.*{reason}.*save the enc"):
        Head.load(str(tmp_path), 4, TextConfig())

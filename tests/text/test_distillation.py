import numpy as np
import pytest
import torch

from recsys.config import DistillationConfig, TextConfig
from recsys.errors import ConfigError, DataError
from recsys.text.distillation import count_distillation_steps, distil, prune_layers
from recsys.text.encoder import Encoder
from recsys.text.export import measure_agreement

CONFIG = TextConfig(max_tokens=16, precision="float32")
LETTERS = np.array(list("abcdefgh"))


@pytest.fixture
def teacher(write_checkpoint) -> Encoder:
    """Six random layers whose vectors of different texts differ."""
    encoder = Encoder(str(write_checkpoint(num_hidden_layers=6, initializer_range=0.1)), CONFIG)
    assert len(encoder.layers) == 6
    return encoder


@pytest.fixture
def texts() -> list[str]:
    rng = np.random.default_rng(0)
    return ["".join(rng.choice(LETTERS, rng.integers(1, 12))) for _ in range(200)]


def weights(encoder: Encoder) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in encoder.model.state_dict().items()}


# --- pruning ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "kept"),
    [(1, [0]), (2, [0, 5]), (3, [0, 3, 5]), (4, [0, 2, 3, 5]), (5, [0, 1, 3, 4, 5]), (6, [*range(6)])],
)
def test_kept_layers_are_spread_from_first_to_last(teacher, layers, kept):
    before = weights(teacher)
    student = prune_layers(teacher, layers)
    assert len(student.layers) == student.model.config.num_hidden_layers == layers
    for layer, own in zip(kept, student.layers, strict=True):
        for name, value in own.state_dict().items():
            assert torch.equal(value, before[f"encoder.layer.{layer}.{name}"])


def test_with_all_layers_the_vectors_are_the_same(teacher, texts):
    np.testing.assert_array_equal(prune_layers(teacher, 6).encode(texts), teacher.encode(texts))
    assert not np.allclose(prune_layers(teacher, 3).encode(texts), teacher.encode(texts), atol=0.01)


def test_a_student_is_a_copy(teacher, texts):
    before = teacher.digest()
    student = prune_layers(teacher, 2)
    with torch.no_grad():
        for value in student.model.parameters():
            value.zero_()
    assert teacher.digest() == before
    assert len(teacher.layers) == teacher.model.config.num_hidden_layers == 6


def test_a_student_saves_and_loads(teacher, texts, tmp_path):
    student = prune_layers(teacher, 3)
    student.save(tmp_path / "student")
    loaded = Encoder(str(tmp_path / "student"), CONFIG)
    assert loaded.digest() == student.digest()
    np.testing.assert_array_equal(loaded.encode(texts), student.encode(texts))


@pytest.mark.parametrize("layers", [0, 7, 99])
def test_too_many_layers_or_none_is_an_error(teacher, layers):
    with pytest.raises(ConfigError, match=rf"layers: is {layers}, but the encoder has 6 layers; expected 1 to 6"):
        prune_layers(teacher, layers)


@pytest.mark.parametrize("pooling", ["cls", "attention"])
def test_a_student_has_its_teachers_head(write_checkpoint, texts, pooling):
    whole = Encoder(str(write_checkpoint(num_hidden_layers=3)), CONFIG.model_copy(update={"pooling": pooling}))
    with torch.no_grad():
        for value in whole.head.parameters():
            value.normal_(generator=torch.Generator().manual_seed(0))
    whole.project(whole.encode(texts), 8)
    student, vectors = prune_layers(whole, 2), whole.encode(texts)
    pruned = measure_agreement(student.encode(texts), vectors)
    distil(vectors, student, texts, DISTILLATION, 512, 0)
    assert measure_agreement(student.encode(texts), vectors).mean_cosine > pruned.mean_cosine
    for name, value in whole.head.state_dict().items():
        assert torch.equal(student.head.state_dict()[name], value)
    assert all(value.grad is None for value in [*student.model.parameters(), *student.head.parameters()])


# --- distillation ----------------------------------------------------------------------------------------

DISTILLATION = DistillationConfig(layers=2, epochs=12, learning_rate=3e-3)


def test_a_student_learns_its_teachers_vectors(teacher, texts):
    vectors = teacher.encode(texts)
    student, steps = prune_layers(teacher, 2), list[int]()
    before, losses = weights(student), distil(vectors, student, texts, DISTILLATION, 512, 7, steps.append)

    pruned = measure_agreement(prune_layers(teacher, 2).encode(texts), vectors)
    taught = measure_agreement(student.encode(texts), vectors)
    assert np.mean(losses[-5:]) < 0.3 * np.mean(losses[:5])
    assert 1 - taught.mean_cosine < 0.05 * (1 - pruned.mean_cosine)
    assert taught.neighbours_kept > pruned.neighbours_kept + 0.05
    # It learned to distinguish texts: the mean vector for all of them would be much further away.
    mean = vectors.mean(axis=0) / np.linalg.norm(vectors.mean(axis=0))
    assert 1 - taught.mean_cosine < 0.05 * (1 - (vectors @ mean).mean())

    changed = {name for name, value in weights(student).items() if not torch.equal(value, before[name])}
    # A constant added to all keys does not change attention, so their biases may have no gradient.
    assert changed <= {name for name in before if name.startswith("encoder.layer.")}
    assert {name.split(".")[2] for name in changed} == {"0", "1"}
    assert not any(module.training for module in student.model.modules())
    assert all(value.grad is None for value in student.model.parameters())
    assert steps == [1] * len(losses)


def test_vectors_of_unseen_texts_improve_too(teacher, texts):
    seen, unseen = texts[:150], [text for text in texts[150:] if text not in texts[:150]]
    student = prune_layers(teacher, 2)
    pruned = measure_agreement(student.encode(unseen), teacher.encode(unseen))
    distil(teacher.encode(seen), student, seen, DISTILLATION, 512, 0)
    assert measure_agreement(student.encode(unseen), teacher.encode(unseen)).mean_cosine > pruned.mean_cosine + 0.03


def test_same_seed_same_weights_and_the_callers_random_state_is_kept(teacher, texts):
    vectors, config = teacher.encode(texts), DISTILLATION.model_copy(update={"epochs": 1})
    one, same, other = (prune_layers(teacher, 2) for _ in range(3))
    torch.manual_seed(123)
    expected = torch.rand(3)
    torch.manual_seed(123)
    losses = distil(vectors, one, texts, config, 512, 7)
    assert torch.equal(torch.rand(3), expected)
    assert distil(vectors, same, texts, config, 512, 7) == losses
    distil(vectors, other, texts, config, 512, 8)
    assert one.digest() == same.digest() != other.digest()


def test_a_perfect_student_hardly_changes(teacher, texts):
    """With all six layers the vectors are the teacher's, so gradients are rounding errors."""
    student = prune_layers(teacher, 6)
    losses = distil(teacher.encode(texts), student, texts, DistillationConfig(epochs=1, learning_rate=1e-5), 512, 0)
    assert max(losses) < 1e-5


def test_in_bfloat16_weights_stay_float32(write_checkpoint, teacher, texts):
    half = Encoder(teacher.model.name_or_path, CONFIG.model_copy(update={"precision": "bfloat16"}))
    student, vectors = prune_layers(half, 2), half.encode(texts)
    losses = distil(vectors, student, texts, DISTILLATION, 512, 7)
    assert np.mean(losses[-5:]) < 0.3 * np.mean(losses[:5])
    assert {value.dtype for value in student.model.state_dict().values() if value.is_floating_point()} == {
        torch.float32
    }


@pytest.mark.parametrize(("batch_tokens", "epochs"), [(512, 1), (512, 3), (2_000, 2), (4, 1)])
def test_the_number_of_steps_matches_the_count(teacher, texts, batch_tokens, epochs):
    config = DistillationConfig(epochs=epochs)
    losses = distil(teacher.encode(texts), prune_layers(teacher, 1), texts, config, batch_tokens, 0)
    assert count_distillation_steps(teacher, texts, config, batch_tokens) == len(losses)
    assert len(losses) % epochs == 0
    assert np.isfinite(losses).all()


def test_without_texts_nothing_changes(teacher):
    student = prune_layers(teacher, 2)
    before = student.digest()
    assert distil(np.zeros((0, 16), np.float32), student, [], DISTILLATION, 512, 0) == []
    assert count_distillation_steps(student, [], DISTILLATION, 512) == 0
    assert student.digest() == before


@pytest.mark.parametrize("shape", [(2, 16), (3, 8)])
def test_vectors_of_the_wrong_shape_are_an_error(teacher, shape):
    with pytest.raises(DataError, match=r"expected \(3, 16\), one per text"):
        distil(np.zeros(shape, np.float32), teacher, ["a", "b", "c"], DISTILLATION, 512, 0)

import copy

import numpy as np
import pytest
import torch

from recsys.config import TextConfig
from recsys.errors import CheckpointError
from recsys.text.encoder import Encoder
from recsys.text.training.adapters import Adapters, attach_adapters
from recsys.text.training.checkpoints import TrainingCheckpoint
from recsys.text.training.optimizer import make_optimizer, rate_layers

TEXTS = ["ab c", "a", "", "ggg hh", "b a d", "h"]
STEPS = 20
CONFIG = TextConfig(max_tokens=16, precision="float32")


@pytest.fixture
def tiny(write_checkpoint) -> Encoder:
    return Encoder(str(write_checkpoint()), CONFIG)


def attach(encoder: Encoder, method: str, seed: int = 0, **more) -> Adapters:
    torch.manual_seed(seed)
    return attach_adapters(encoder, method, **{"rank": 2, "alpha": 4.0, "total_steps": STEPS, **more})


def train(encoder: Encoder, adapters: Adapters, optimizer: torch.optim.Optimizer, steps: range) -> None:
    """Push the vectors of the texts apart."""
    ids, mask = encoder.pad(encoder.tokenize(TEXTS))
    for step in steps:
        vectors = encoder.pool(encoder.run_layers(encoder.embed_tokens(ids), mask, encoder.layers), mask)
        loss = (vectors @ vectors.T).mean() + 1e-3 * adapters.penalty()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        adapters.after_step(step)


def taught(encoder: Encoder, method: str, **more) -> Adapters:
    adapters = attach(encoder, method, **more)
    train(encoder, adapters, make_optimizer(rate_layers(encoder, 0.05), 0.01), range(STEPS))
    return adapters


def learning(encoder: Encoder) -> set[str]:
    return {name for name, parameter in encoder.model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("method", ["lora", "adalora"])
@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta", "camembert", "electra"])
def test_merged_adapters_give_the_same_vectors_in_every_family(write_checkpoint, tmp_path, family, method):
    padding = {"pad_token_id": 0, "max_position_embeddings": 40}
    encoder = Encoder(str(write_checkpoint(family=family, **padding)), CONFIG)
    names, before = list(encoder.model.state_dict()), encoder.encode(TEXTS)
    adapters = attach(encoder, method)
    np.testing.assert_allclose(encoder.encode(TEXTS), before, atol=1e-6)
    train(encoder, adapters, make_optimizer(rate_layers(encoder, 0.05), 0.01), range(STEPS))
    learned = encoder.encode(TEXTS)
    assert np.abs(learned - before).max() > 0.05
    adapters.merge()
    np.testing.assert_allclose(encoder.encode(TEXTS), learned, atol=1e-5)
    assert list(encoder.model.state_dict()) == names
    encoder.save(tmp_path / "saved")
    np.testing.assert_allclose(Encoder(str(tmp_path / "saved"), CONFIG).encode(TEXTS), learned, atol=1e-5)


def test_the_real_checkpoint_keeps_its_vectors(encoder):
    ours, texts = copy.deepcopy(encoder), ["A crew drifts between stars", "bread", "长夜 🎬", ""]
    adapters = attach(ours, "lora", rank=8, alpha=16, layers=2, dense=True)
    with torch.no_grad():
        for name, parameter in ours.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.02)
    learned = ours.encode(texts)
    assert np.abs(learned - encoder.encode(texts)).max() > 0.01
    adapters.merge()
    np.testing.assert_allclose(ours.encode(texts), learned, atol=1e-5)
    changed = {
        name
        for name, parameter in ours.model.state_dict().items()
        if not encoder.model.state_dict()[name].equal(parameter)
    }
    suffixes = ("query.weight", "value.weight", "dense.weight")
    assert {name.split(".")[2] for name in changed} == {"4", "5"}
    assert len(changed) == 2 * 5
    assert all(name.endswith(suffixes) for name in changed)


@pytest.mark.parametrize(("layers", "expected"), [(None, {"0", "1"}), (1, {"1"}), (2, {"0", "1"}), (7, {"0", "1"})])
@pytest.mark.parametrize("method", ["lora", "adalora"])
def test_only_the_adapters_of_the_chosen_layers_learn(tiny, method, layers, expected):
    attach(tiny, method, layers=layers)
    names = learning(tiny)
    assert {name.split(".")[2] for name in names} == expected
    assert all("lora_" in name for name in names)
    assert {name.split(".")[5] for name in names} == {"query", "value"}


@pytest.mark.parametrize("method", ["lora", "adalora"])
def test_merging_restores_which_parameters_are_frozen(tiny, method):
    tiny.model.embeddings.requires_grad_(False)
    before = learning(tiny)
    taught(tiny, method).merge()
    assert learning(tiny) == before
    assert not hasattr(tiny.model, "peft_config")
    # Adapters can be attached again.
    taught(tiny, method).merge()
    assert learning(tiny) == before


@pytest.mark.parametrize("method", ["lora", "adalora"])
def test_same_seed_same_weights(write_checkpoint, method):
    digests = []
    for seed in (1, 1, 2):
        encoder = Encoder(str(write_checkpoint()), CONFIG)
        taught(encoder, method, seed=seed).merge()
        digests.append(encoder.digest())
    assert digests[0] == digests[1] != digests[2]


def values(encoder: Encoder) -> torch.Tensor:
    return torch.cat([parameter.flatten() for name, parameter in encoder.model.named_parameters() if "lora_E" in name])


def test_adalora_ends_with_the_configured_mean_rank(tiny):
    adapters = attach(tiny, "adalora")
    # Two layers with two maps each, initially of rank 3.
    assert len(values(tiny)) == 4 * 3
    optimizer = make_optimizer(rate_layers(tiny, 0.05), 0.01)
    train(tiny, adapters, optimizer, range(3))
    assert int((values(tiny) != 0).sum()) == 4 * 3
    train(tiny, adapters, optimizer, range(3, STEPS))
    assert int((values(tiny) != 0).sum()) == 4 * 2


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 9])
def test_adalora_works_with_few_steps(tiny, steps):
    adapters = attach(tiny, "adalora", total_steps=steps, rank=1)
    train(tiny, adapters, make_optimizer(rate_layers(tiny, 0.05), 0.01), range(steps))
    # Initially of rank 2; one step is too few to estimate importance.
    assert int((values(tiny) != 0).sum()) == (8 if steps == 1 else 4)
    learned = tiny.encode(TEXTS)
    adapters.merge()
    np.testing.assert_allclose(tiny.encode(TEXTS), learned, atol=1e-5)


def test_the_product_is_scaled_by_alpha_over_rank(tiny):
    before = tiny.layers[0].attention.self.query.weight.detach().clone()
    for method, rows in (("lora", 2), ("adalora", 3)):
        adapters = attach(tiny, method, rank=2, alpha=6.0)
        query = tiny.layers[0].attention.self.query
        with torch.no_grad():
            for name, parameter in query.named_parameters():
                if "lora_" in name:
                    parameter.fill_(0.1 if "lora_E" not in name else 1.0)
        adapters.merge()
        added = tiny.layers[0].attention.self.query.weight.detach() - before
        torch.testing.assert_close(added, torch.full_like(before, rows * 0.1 * 0.1 * 6 / 2), rtol=1e-4, atol=0)
        before = tiny.layers[0].attention.self.query.weight.detach().clone()


def test_penalty_is_the_mean_distance_from_orthogonal(tiny):
    adapters = attach(tiny, "adalora", rank=2)
    with torch.no_grad():
        for name, parameter in tiny.model.named_parameters():
            if "lora_A" in name or "lora_B" in name:
                parameter.zero_()
    # The distance of a zero matrix from the 3 x 3 unit matrix is the square root of 3.
    assert float(adapters.penalty().detach()) == pytest.approx(0.5 * 3**0.5)
    adapters.merge()
    assert float(attach(tiny, "lora").penalty()) == 0.0


@pytest.mark.parametrize("method", ["lora", "adalora"])
@pytest.mark.parametrize("after", [1, 10, 17])
def test_a_resumed_training_ends_with_the_same_bits(write_checkpoint, tmp_path, method, after):
    whole = Encoder(str(write_checkpoint()), CONFIG)
    taught(whole, method).merge()
    checkpoint, resumed = TrainingCheckpoint(tmp_path / "checkpoint", "key"), []
    for steps in (range(after), range(after, STEPS)):
        encoder = Encoder(str(write_checkpoint()), CONFIG)
        adapters = attach(encoder, method, seed=0 if steps.start == 0 else 9)
        optimizer = make_optimizer(rate_layers(encoder, 0.05), 0.01)
        scheduler = torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)
        parts = {"model": encoder.model, "adapters": adapters}
        state = checkpoint.load(parts, optimizer, scheduler)
        assert (state.step if state else 0) == steps.start
        train(encoder, adapters, optimizer, steps)
        checkpoint.save(steps.stop, parts, optimizer, scheduler, [])
        resumed.append((encoder, adapters))
    encoder, adapters = resumed[-1]
    adapters.merge()
    assert encoder.digest() == whole.digest()


def test_a_model_without_the_named_maps_is_rejected(tiny):
    for layer in tiny.layers:
        layer.attention = torch.nn.Identity()
    with pytest.raises(CheckpointError, match="no linear layers named query or value"):
        attach(tiny, "lora")

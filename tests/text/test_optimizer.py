import pytest
import torch
from torch import nn

from recsys.config import TextConfig
from recsys.text.encoder import Encoder
from recsys.text.training.optimizer import make_optimizer, rate_layers, warm_up_then_cosine

TEXTS = TextConfig(max_tokens=16, precision="float32")


@pytest.fixture
def tiny(write_checkpoint) -> Encoder:
    return Encoder(str(write_checkpoint(num_hidden_layers=3)), TEXTS)


def rate_of(optimizer: torch.optim.Optimizer) -> dict[int, float]:
    return {id(parameter): group["lr"] for group in optimizer.param_groups for parameter in group["params"]}


def test_lower_layers_learn_more_slowly(tiny):
    rated = rate_layers(tiny, 1e-3, 0.5)
    assert [module for module, _ in rated] == [*reversed(list(tiny.layers)), tiny.model.embeddings]
    assert [rate for _, rate in rated] == pytest.approx([1e-3, 5e-4, 2.5e-4, 1.25e-4])


@pytest.mark.parametrize(("last", "expected"), [(1, [2]), (2, [2, 1]), (3, [2, 1, 0]), (9, [2, 1, 0])])
def test_top_layers_do_not_include_the_embeddings(tiny, last, expected):
    rated = rate_layers(tiny, 1e-3, trainable_layers=last)
    assert [list(tiny.layers).index(module) for module, _ in rated] == expected
    assert {rate for _, rate in rated} == {1e-3}


def test_the_map_of_narrow_token_vectors_has_the_rate_of_the_embeddings(write_checkpoint):
    small = Encoder(str(write_checkpoint(family="electra", embedding_size=8)), TEXTS)
    rated = rate_layers(small, 1.0, 0.5)
    assert [rate for _, rate in rated] == [1.0, 0.5, 0.25, 0.25]
    assert rated[-1][0] is small.model.embeddings_project


def test_each_parameter_is_in_one_group(tiny):
    head = nn.Linear(16, 4)
    optimizer = make_optimizer([(head, 1e-2), *rate_layers(tiny, 1e-3, 0.5), (tiny.model, 9.0)], 0.01)
    rates = rate_of(optimizer)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    assert len(parameters) == len(rates)
    assert rates[id(head.weight)] == rates[id(head.bias)] == 1e-2
    assert rates[id(tiny.layers[0].attention.self.query.weight)] == 2.5e-4
    assert rates[id(tiny.model.embeddings.word_embeddings.weight)] == 1.25e-4
    # Only the pooler, which is in no earlier module, is left for the last one.
    assert {id(parameter) for parameter in parameters if rates[id(parameter)] == 9.0} == {
        id(parameter) for parameter in tiny.model.pooler.parameters()
    }


def test_norms_and_biases_do_not_decay(tiny):
    optimizer = make_optimizer(rate_layers(tiny, 1e-3), 0.01)
    decayed = {
        id(parameter) for group in optimizer.param_groups if group["weight_decay"] for parameter in group["params"]
    }
    names = {name for name, parameter in tiny.model.named_parameters() if id(parameter) in decayed}
    assert "embeddings.word_embeddings.weight" in names
    assert "encoder.layer.2.output.dense.weight" in names
    assert not [name for name in names if name.endswith("bias") or "LayerNorm" in name]
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.01, 0.0}


def test_weight_decay_is_decoupled_from_the_gradient():
    layer = nn.Linear(2, 2)
    before = layer.weight.detach().clone(), layer.bias.detach().clone()
    layer.weight.grad, layer.bias.grad = torch.zeros(2, 2), torch.zeros(2)
    make_optimizer([(layer, 0.1)], 0.5).step()
    torch.testing.assert_close(layer.weight.detach(), before[0] * (1 - 0.1 * 0.5))
    assert torch.equal(layer.bias.detach(), before[1])


def test_frozen_parameters_are_left_out(tiny):
    tiny.model.requires_grad_(False)
    tiny.layers[1].output.dense.weight.requires_grad_()
    optimizer = make_optimizer(rate_layers(tiny, 1e-3), 0.01)
    assert [len(group["params"]) for group in optimizer.param_groups] == [1]
    tiny.model.requires_grad_(False)
    with pytest.raises(ValueError, match="empty"):
        make_optimizer(rate_layers(tiny, 1e-3), 0.01)


def test_learning_rate_warms_up_and_falls_to_zero():
    schedule = warm_up_then_cosine(12, 0.17)
    assert [schedule(step) for step in (0, 1, 2, 7)] == [0.5, 1.0, 1.0, pytest.approx(0.5)]
    assert schedule(11) == pytest.approx(0.0245, abs=1e-4)
    assert schedule(12) == pytest.approx(0.0)
    assert [warm_up_then_cosine(1, share)(0) for share in (0.0, 1.0)] == [1.0, 1.0]


def test_each_module_follows_the_schedule_at_its_own_rate():
    first, second = nn.Linear(1, 1), nn.Linear(1, 1)
    optimizer = make_optimizer([(first, 1.0), (second, 0.1)], 0.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, warm_up_then_cosine(4, 0.5))
    seen = []
    for _ in range(4):
        seen.append([group["lr"] for group in optimizer.param_groups][::2])
        optimizer.step()
        scheduler.step()
    assert seen == [pytest.approx([share, share / 10]) for share in (0.5, 1.0, 1.0, 0.5)]

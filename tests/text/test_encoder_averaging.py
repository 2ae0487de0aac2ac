"""The mean of two encoders: a mean of all weights, the head's included."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from recsys.config import TextConfig
from recsys.text.averaging import average_encoders
from recsys.text.encoder import Encoder


@pytest.fixture
def pair(write_checkpoint: Callable[..., Path]) -> tuple[Encoder, Encoder]:
    """An encoder whose head has weights, and the same one after every weight moved."""
    settings = TextConfig(precision="float32", pooling="attention")
    folder = str(write_checkpoint())
    untouched, tuned = Encoder(folder, settings), Encoder(folder, settings)
    with torch.no_grad():
        for module in (tuned.model, tuned.head):
            for weight in module.parameters():
                weight.add_(1.0)
    return tuned, untouched


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_every_weight_is_the_weighted_mean(pair: tuple[Encoder, Encoder], share: float) -> None:
    tuned, untouched = pair
    digests = tuned.digest(), untouched.digest()
    averaged = average_encoders(tuned, untouched, share)
    for part in ("model", "head"):
        before = dict(getattr(untouched, part).named_parameters())
        after = dict(getattr(averaged, part).named_parameters())
        assert after.keys() == before.keys() != set()
        for name, weight in after.items():
            torch.testing.assert_close(weight, before[name] + (1.0 - share))
    assert (tuned.digest(), untouched.digest()) == digests
    # The mean is a plain encoder, whose vectors are those of its own weights.
    assert averaged.encode(["a b"]).shape == tuned.encode(["a b"]).shape

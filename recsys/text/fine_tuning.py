"""Fine-tuning the encoder's last layers on which items the same users took."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys.config import FineTuneConfig
from recsys.dataset.histories import Histories
from recsys.text.encoder import Encoder, Progress, make_batches, pool


@dataclass(frozen=True)
class FrozenStates:
    """Hidden states of every text below the layers that learn, computed once per catalogue.

    Attributes:
        states: (n_tokens, embedding_size) of all texts one after the other; bfloat16 or float32.
        starts: (n_texts + 1) int64; text t's tokens are `states[starts[t]:starts[t + 1]]`.
    """

    states: torch.Tensor
    starts: NDArray[np.int64]

    def pad(self, places: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (batch, longest, size) states and the (batch, longest) bool mask of real tokens."""
        lengths = torch.from_numpy(self.starts[places + 1] - self.starts[places])
        rows = [self.states[self.starts[place] : self.starts[place + 1]] for place in places]
        hidden = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        mask = torch.arange(hidden.shape[1])[None, :] < lengths[:, None]
        return hidden, mask.to(hidden.device)


def freeze_states(
    encoder: Encoder,
    texts: Sequence[str],
    config: FineTuneConfig,
    batch_tokens: int,
    progress: Progress | None = None,
) -> FrozenStates:
    """Run every text through the layers below the last `trainable_layers`."""
    tokens = encoder.tokenize(texts)
    lower = encoder.layers[: max(0, len(encoder.layers) - config.trainable_layers)]
    rows: list[torch.Tensor] = [torch.empty(0)] * len(texts)
    with torch.no_grad(), encoder.autocast():
        for batch in make_batches([len(one) for one in tokens], batch_tokens):
            ids, mask = encoder.pad([tokens[place] for place in batch])
            hidden = encoder.run_layers(encoder.embed_tokens(ids), mask, lower)
            kept = hidden.to(torch.bfloat16) if torch.is_autocast_enabled(encoder.device.type) else hidden
            for place, states, real in zip(batch, kept, mask, strict=True):
                rows[place] = states[real].clone()
            if progress:
                progress(len(batch))
    starts = np.concatenate([[0], np.cumsum([len(one) for one in tokens])]).astype(np.int64)
    return FrozenStates(torch.cat(rows), starts)


def encode_frozen(
    encoder: Encoder, frozen: FrozenStates, config: FineTuneConfig, batch_tokens: int, progress: Progress | None = None
) -> NDArray[np.float32]:
    """Return what `encoder.encode` returns for the same texts, running only the layers that learned.

    In float32 the vectors are equal up to rounding; in bfloat16 the states were rounded once more, and the cosine to
    `encode` is above 0.9999.
    """
    upper = encoder.layers[-config.trainable_layers :]
    vectors = np.zeros((len(frozen.starts) - 1, encoder.embedding_size), dtype=np.float32)
    with torch.inference_mode(), encoder.autocast():
        for batch in make_batches(np.diff(frozen.starts).tolist(), batch_tokens):
            hidden, mask = frozen.pad(batch)
            vectors[batch] = pool(encoder.run_layers(hidden, mask, upper), mask).float().cpu().numpy()
            if progress:
                progress(len(batch))
    return vectors


def fine_tune(
    encoder: Encoder,
    frozen: FrozenStates,
    histories: Histories,
    config: FineTuneConfig,
    seed: int,
    progress: Progress | None = None,
) -> list[float]:
    """Teach the encoder's last layers, in place, that items taken by the same user belong together.

    An example is an item and a later item of the same history. The other examples' later items are the negatives
    of a softmax (van den Oord et al. 2018, arXiv 1807.03748), corrected for how often each is drawn (Yi et al. 2019,
    RecSys, "sampling-bias-corrected"); nothing the user also has counts as a negative.

    Args:
        encoder: changed in place.
        frozen: states of every item's text, in the order of `histories.item_ids`.
        histories: as of the cut-off; nothing later is learned.
        config: epochs, batch size, learning rate and the rest.
        seed: draws examples and dropout.
        progress: called with 1 after each step.

    Returns:
        The loss of each step; empty where nothing could be learned from.
    """
    rng = np.random.default_rng(seed)
    batches = [batch for _ in range(config.epochs) for batch in draw_pairs(histories, config, rng)]
    if not batches:
        return []
    upper = encoder.layers[-config.trainable_layers :]
    optimizer = _make_optimizer(upper, config)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _warm_up_then_cosine(len(batches), config.warmup_share))
    owned = histories.matrix()
    log_q = _log_draw_probability(histories)
    losses: list[float] = []
    with torch.random.fork_rng(devices=[encoder.device] if encoder.device.type == "cuda" else []):
        torch.manual_seed(seed)
        upper.train()
        for users, anchors, targets in batches:
            items, places = np.unique(np.concatenate([anchors, targets]), return_inverse=True)
            hidden, mask = frozen.pad(items.astype(np.int64))
            with encoder.autocast():
                vectors = pool(encoder.run_layers(hidden, mask, upper), mask)
            logits = vectors[places[: len(anchors)]] @ vectors[places[len(anchors) :]].T / config.temperature
            logits = logits - torch.from_numpy(log_q[targets]).to(logits.device)
            allowed = torch.from_numpy(_allowed_negatives(owned, users, targets)).to(logits.device)
            logits = logits.masked_fill(~allowed, -torch.inf)
            loss = torch.nn.functional.cross_entropy(logits, torch.arange(len(targets), device=logits.device))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(upper.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            losses.append(float(loss.detach()))
            if progress:
                progress(1)
        upper.eval()
    return losses


_Batch = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]


def count_steps(histories: Histories, config: FineTuneConfig) -> int:
    """Return how many steps `fine_tune` will take, for a progress bar."""
    pairs = int((histories.lengths - 1).clip(min=0).sum())
    return config.epochs * min(pairs // config.batch_size, config.max_steps_per_epoch)


def draw_pairs(histories: Histories, config: FineTuneConfig, rng: np.random.Generator) -> list[_Batch]:
    """Draw one epoch of (user, item, later item) batches, each a triple of (batch_size) int32 arrays.

    The later item stands 1 to `max_distance` places on; anywhere in the history when the data has no order.
    """
    behind = histories.steps_back
    anchors = np.flatnonzero(behind > 0)
    anchors = rng.permutation(anchors)[: config.max_steps_per_epoch * config.batch_size]
    reach = behind[anchors] if not histories.ordered else np.minimum(behind[anchors], config.max_distance)
    later = anchors + 1 + (rng.random(len(anchors)) * reach).astype(np.int64)
    swap = rng.random(len(anchors)) < 0.5 if not histories.ordered else np.zeros(len(anchors), dtype=bool)
    users, items = histories.users[anchors], histories.items
    first, second = np.where(swap, items[later], items[anchors]), np.where(swap, items[anchors], items[later])
    steps = len(anchors) // config.batch_size
    cuts = [slice(step * config.batch_size, (step + 1) * config.batch_size) for step in range(steps)]
    return [(users[part], first[part], second[part]) for part in cuts]


def _allowed_negatives(owned: csr_array, users: NDArray[np.int32], targets: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return (batch, batch) bool: column j may stand against row i's target."""
    has = owned[users][:, targets].toarray() > 0
    same = targets[:, None] == targets[None, :]
    allowed: NDArray[np.bool_] = (~(has | same)) | np.eye(len(targets), dtype=bool)
    return allowed


def _log_draw_probability(histories: Histories) -> NDArray[np.float32]:
    counts = np.bincount(histories.items, minlength=histories.n_items) + 1.0
    share: NDArray[np.float32] = (counts / counts.sum()).astype(np.float32)
    return np.log(share)


def _make_optimizer(layers: torch.nn.Module, config: FineTuneConfig) -> torch.optim.Optimizer:
    decayed: list[torch.nn.Parameter] = []
    plain: list[torch.nn.Parameter] = []
    for name, parameter in layers.named_parameters():
        (plain if name.endswith("bias") or "LayerNorm" in name else decayed).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate)


class _warm_up_then_cosine:  # noqa: N801 - reads as the schedule it is
    def __init__(self, steps: int, warmup_share: float) -> None:
        self._steps, self._warmup = steps, max(1, round(steps * warmup_share))

    def __call__(self, step: int) -> float:
        if step < self._warmup:
            return (step + 1) / self._warmup
        return 0.5 * (1.0 + math.cos(math.pi * (step - self._warmup) / max(1, self._steps - self._warmup)))

"""Adapting the encoder to the catalogue's language: masked-language modelling on item texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from recsys.config import AdaptationConfig
from recsys.errors import CheckpointError
from recsys.text.device import seeded
from recsys.text.encoder import Encoder, Progress
from recsys.text.training.batches import count_text_batches, mix_text_batches
from recsys.text.training.loop import TrainingLoop
from recsys.text.training.optimizer import make_optimizer, warm_up_then_cosine

# Shares of the selected tokens that are replaced by the mask and by a random token; the rest are kept.
_MASKED, _RANDOM = 0.8, 0.1
_INITIAL_STD = 0.02
_MAX_GRADIENT_NORM = 1.0


def adapt(
    encoder: Encoder,
    texts: Sequence[str],
    config: AdaptationConfig,
    batch_tokens: int,
    seed: int,
    progress: Progress | None = None,
) -> list[float]:
    """Train the encoder, in place, to predict masked tokens of the catalogue's texts (Devlin et al. 2019).

    All layers and the word vectors learn. Each epoch masks other tokens (Liu et al. 2019, arXiv 1907.11692): a fixed
    share of each text, at least one token, of which 80 % are masked, 10 % replaced and 10 % kept; special and unknown
    tokens are never masked. The prediction head is the checkpoint's if its file has one, otherwise newly initialised;
    it is discarded afterwards. Texts without a token that can be masked are skipped.

    Args:
        encoder: changed in place; its weights stay float32.
        texts: of the catalogue.
        config: epochs, share of masked tokens, learning rate and schedule.
        batch_tokens: tokens in a batch that is only encoded; a training batch has a quarter of them.
        seed: draws order, masks, dropout and the head. The caller's random state is not changed.
        progress: called with 1 after each step.

    Returns:
        The loss of each step, mean cross-entropy of its masked tokens in nats; empty without anything to learn from.

    Raises:
        CheckpointError: the tokenizer has no mask token.
    """
    if not config.epochs:
        return []
    vocabulary = _read_maskable(encoder)
    tokens = _tokenize(encoder, texts, vocabulary)
    if not tokens:
        return []
    rng = np.random.default_rng(seed)
    lengths = [len(text) for text in tokens]
    steps = config.epochs * count_text_batches(lengths, batch_tokens)
    with seeded(seed, encoder.device):
        head = _make_head(encoder)
        modules = [(module, config.learning_rate) for module in (encoder.model, head)]
        optimizer = make_optimizer(modules, config.weight_decay)

        def compute_losses(batch: NDArray[np.int64]) -> Iterator[torch.Tensor]:
            masked = _mask([tokens[text] for text in batch], config.masked_share, vocabulary, rng)
            yield _prediction_loss(encoder, head, masked)

        loop = TrainingLoop(
            compute_losses,
            optimizer,
            torch.optim.lr_scheduler.LambdaLR(optimizer, warm_up_then_cosine(steps, config.warmup_share)),
            [*encoder.model.parameters(), *head.parameters()],
            _MAX_GRADIENT_NORM,
        )
        encoder.model.train()
        for _ in loop.run(mix_text_batches(lengths, config.epochs, batch_tokens, rng)):
            if progress:
                progress(1)
        encoder.model.eval()
    return loop.losses


def count_adaptation_steps(encoder: Encoder, texts: Sequence[str], config: AdaptationConfig, batch_tokens: int) -> int:
    """Return how many steps `adapt` will take, for a progress bar."""
    if not config.epochs:
        return 0
    tokens = _tokenize(encoder, texts, _read_maskable(encoder))
    return config.epochs * count_text_batches([len(text) for text in tokens], batch_tokens)


@dataclass(frozen=True)
class _Maskable:
    """Which tokens may be masked and predicted.

    Attributes:
        allowed: (vocabulary size) bool by token id: the token is a word or a piece of one.
        ids: the allowed ids, ascending.
        mask: id of the mask token.
    """

    allowed: NDArray[np.bool_]
    ids: NDArray[np.int64]
    mask: int


def _read_maskable(encoder: Encoder) -> _Maskable:
    tokenizer = encoder.tokenizer
    if tokenizer.mask_token_id is None:
        raise CheckpointError(
            f"checkpoint '{encoder.model.name_or_path}': its tokenizer has no mask token, which text.adaptation needs; "
            "set text.adaptation.epochs to 0, or choose another text.checkpoint"
        )
    ids = np.array(sorted(tokenizer.get_vocab().values()), dtype=np.int64)
    allowed = np.zeros(encoder.model.config.vocab_size, dtype=bool)
    allowed[ids] = True
    allowed[tokenizer.all_special_ids] = False
    return _Maskable(allowed, np.flatnonzero(allowed), tokenizer.mask_token_id)


_Tokens = list[NDArray[np.int64]]


def _tokenize(encoder: Encoder, texts: Sequence[str], vocabulary: _Maskable) -> _Tokens:
    """Return the token ids of the texts that have a token that can be masked."""
    tokens = [np.array(ids, dtype=np.int64) for ids in encoder.tokenize(texts)]
    return [ids for ids in tokens if vocabulary.allowed[ids].any()]


@dataclass(frozen=True)
class _Masked:
    """Texts with some of their tokens masked.

    Attributes:
        tokens: what the encoder sees.
        rows: (n_masked) int64, the text of each masked token.
        columns: (n_masked) int64, its position in the text.
        targets: (n_masked) int64, the original token id.
    """

    tokens: _Tokens
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    targets: NDArray[np.int64]


def _mask(tokens: _Tokens, share: float, vocabulary: _Maskable, rng: np.random.Generator) -> _Masked:
    """Mask a share of each text's tokens, at least one."""
    lengths = np.array([len(ids) for ids in tokens])
    rows = np.repeat(np.arange(len(tokens)), lengths)
    starts = np.cumsum(lengths) - lengths
    ids = np.concatenate(tokens)
    allowed = vocabulary.allowed[ids]
    wanted = np.maximum(1, np.rint(share * np.bincount(rows, weights=allowed, minlength=len(tokens))))
    # The tokens of each text in random order, those that may not be masked last.
    order = np.lexsort((rng.random(len(ids)), ~allowed, rows))
    masked = np.sort(order[np.arange(len(ids)) - starts[rows] < wanted[rows]])
    targets = ids[masked]
    draws = rng.random(len(masked))
    ids[masked[draws < _MASKED]] = vocabulary.mask
    replaced = masked[(draws >= _MASKED) & (draws < _MASKED + _RANDOM)]
    ids[replaced] = rng.choice(vocabulary.ids, len(replaced))
    return _Masked(np.split(ids, starts[1:]), rows[masked], masked - starts[rows[masked]], targets)


def _prediction_loss(encoder: Encoder, head: _Head, masked: _Masked) -> torch.Tensor:
    """Return the mean cross-entropy of the masked tokens; the head is applied at their positions only."""
    ids, mask = encoder.pad(masked.tokens)  # type: ignore[arg-type]
    rows, columns, targets = (
        torch.from_numpy(array).to(encoder.device) for array in (masked.rows, masked.columns, masked.targets)
    )
    with encoder.autocast():
        hidden = encoder.run_layers(encoder.embed_tokens(ids), mask, encoder.layers)
        logits = head(hidden[rows, columns], encoder.model.get_input_embeddings().weight)
    return functional.cross_entropy(logits.float(), targets)


class _Head(nn.Module):
    """Maps hidden states to logits over the vocabulary, with the encoder's word vectors as output weights."""

    def __init__(self, hidden_size: int, word_size: int, vocabulary_size: int, epsilon: float) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden_size, word_size)
        self.norm = nn.LayerNorm(word_size, eps=epsilon)
        self.bias = nn.Parameter(torch.zeros(vocabulary_size))
        nn.init.normal_(self.dense.weight, 0.0, _INITIAL_STD)
        nn.init.zeros_(self.dense.bias)

    def forward(self, hidden: torch.Tensor, word_vectors: torch.Tensor) -> torch.Tensor:
        return functional.linear(self.norm(functional.gelu(self.dense(hidden))), word_vectors, self.bias)


def _make_head(encoder: Encoder) -> _Head:
    vocabulary_size, word_size = encoder.model.get_input_embeddings().weight.shape
    config = encoder.model.config
    head = _Head(config.hidden_size, word_size, vocabulary_size, config.layer_norm_eps)
    trained = _load_trained_head(encoder.model.name_or_path)
    if trained:
        head.load_state_dict(trained)
    return head.to(encoder.device)


def _load_trained_head(checkpoint: str) -> dict[str, Any] | None:
    """Return the weights of the head that a checkpoint was trained with, or None if its file has none."""
    from transformers import AutoModelForMaskedLM

    try:
        model, loaded = AutoModelForMaskedLM.from_pretrained(
            checkpoint, trust_remote_code=False, use_safetensors=True, dtype="float32", output_loading_info=True
        )
    except OSError:
        # The folder that the encoder was loaded from no longer exists.
        return None
    body = f"{model.base_model_prefix}."
    if any(not key.startswith(body) for key in loaded["missing_keys"]):
        return None
    output = model.get_output_embeddings()
    # The same three modules have different names in each model family.
    modules = [module for name, module in model.named_modules() if not name.startswith(body) and module is not output]
    dense = next(module for module in modules if isinstance(module, nn.Linear))
    norm = next(module for module in modules if isinstance(module, nn.LayerNorm))
    return {
        "dense.weight": dense.weight,
        "dense.bias": dense.bias,
        "norm.weight": norm.weight,
        "norm.bias": norm.bias,
        "bias": output.bias,
    }

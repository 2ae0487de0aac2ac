"""Adapting the encoder to the catalogue's language: guessing words that were masked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from recsys.config import AdaptationConfig
from recsys.errors import CheckpointError
from recsys.text.encoder import Encoder, Progress
from recsys.text.training.batches import count_text_batches, mix_text_batches
from recsys.text.training.optimizer import make_optimizer, warm_up_then_cosine

# Of the chosen tokens so many become the mask, so many more a random word; the rest stay as they are.
_MASKED, _RANDOM = 0.8, 0.1
_INITIAL = 0.02
_LARGEST_GRADIENT = 1.0


def adapt(
    encoder: Encoder,
    texts: Sequence[str],
    config: AdaptationConfig,
    batch_tokens: int,
    seed: int,
    progress: Progress | None = None,
) -> list[float]:
    """Teach the encoder, in place, to guess masked tokens of the catalogue's texts (Devlin et al. 2019).

    All layers and the word vectors learn. Each epoch masks other tokens (Liu et al. 2019, arXiv 1907.11692): a fixed
    share of each text, one at least, of which 80 % are masked, 10 % replaced and 10 % kept; special and unknown tokens
    never. The head that guesses is the checkpoint's where its file holds one, otherwise it starts from nothing; it is
    thrown away afterwards. Texts in which nothing can be masked are skipped.

    Args:
        encoder: changed in place, its weights stay float32.
        texts: the catalogue's.
        config: epochs, share of masked tokens, learning rate and the rest.
        batch_tokens: tokens in a batch that is only encoded; a training batch has a quarter of them.
        seed: draws order, masks, dropout and the head. Nobody else's random numbers move.
        progress: called with 1 after each step.

    Returns:
        The loss of each step, mean cross-entropy of its masked tokens in nats; empty where nothing could be learned.

    Raises:
        CheckpointError: the tokenizer has no mask token.
    """
    if not config.epochs:
        return []
    guesses = _read_guesses(encoder)
    tokens = _tokenize(encoder, texts, guesses)
    if not tokens:
        return []
    rng = np.random.default_rng(seed)
    steps = config.epochs * count_text_batches([len(one) for one in tokens], batch_tokens)
    losses: list[torch.Tensor] = []
    with torch.random.fork_rng(devices=[encoder.device] if encoder.device.type == "cuda" else []):
        torch.manual_seed(seed)
        head = _make_head(encoder)
        encoder.model.train()
        learned = [*encoder.model.parameters(), *head.parameters()]
        parts = [(part, config.learning_rate) for part in (encoder.model, head)]
        optimizer = make_optimizer(parts, config.weight_decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, warm_up_then_cosine(steps, config.warmup_share))
        for places in mix_text_batches([len(one) for one in tokens], config.epochs, batch_tokens, rng):
            batch = [tokens[place] for place in places]
            loss = _guess(encoder, head, _mask(batch, config.masked_share, guesses, rng))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(learned, _LARGEST_GRADIENT)
            optimizer.step()
            schedule.step()
            losses.append(loss.detach())
            if progress:
                progress(1)
        encoder.model.eval()
        optimizer.zero_grad()
    found: list[float] = torch.stack(losses).tolist()
    return found


def count_adaptation_steps(encoder: Encoder, texts: Sequence[str], config: AdaptationConfig, batch_tokens: int) -> int:
    """Return how many steps `adapt` will take, for a progress bar."""
    if not config.epochs:
        return 0
    tokens = _tokenize(encoder, texts, _read_guesses(encoder))
    return config.epochs * count_text_batches([len(one) for one in tokens], batch_tokens)


@dataclass(frozen=True)
class _Guesses:
    """Which tokens may be masked and guessed.

    Attributes:
        allowed: (n_words) bool by token number: the token is a word or a piece of one.
        numbers: the allowed numbers, ascending.
        mask: number of the mask token.
    """

    allowed: NDArray[np.bool_]
    numbers: NDArray[np.int64]
    mask: int


def _read_guesses(encoder: Encoder) -> _Guesses:
    tokenizer = encoder.tokenizer
    if tokenizer.mask_token_id is None:
        raise CheckpointError(
            f"checkpoint '{encoder.model.name_or_path}': its tokenizer has no mask token, which text.adaptation needs; "
            "set text.adaptation.epochs to 0, or choose another text.checkpoint"
        )
    numbers = np.array(sorted(tokenizer.get_vocab().values()), dtype=np.int64)
    allowed = np.zeros(encoder.model.config.vocab_size, dtype=bool)
    allowed[numbers] = True
    allowed[tokenizer.all_special_ids] = False
    return _Guesses(allowed, np.flatnonzero(allowed), tokenizer.mask_token_id)


_Tokens = list[NDArray[np.int64]]


def _tokenize(encoder: Encoder, texts: Sequence[str], guesses: _Guesses) -> _Tokens:
    """Return the token numbers of the texts in which something can be masked."""
    tokens = [np.array(one, dtype=np.int64) for one in encoder.tokenize(texts)]
    return [one for one in tokens if guesses.allowed[one].any()]


@dataclass(frozen=True)
class _Masked:
    """Texts with some of their tokens hidden.

    Attributes:
        tokens: what the encoder sees.
        rows: (n_hidden) int64, the text of each hidden token.
        columns: (n_hidden) int64, its place there.
        answers: (n_hidden) int64, what stood there.
    """

    tokens: _Tokens
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    answers: NDArray[np.int64]


def _mask(tokens: _Tokens, share: float, guesses: _Guesses, rng: np.random.Generator) -> _Masked:
    """Hide a share of each text's words, one at least."""
    lengths = np.array([len(one) for one in tokens])
    rows = np.repeat(np.arange(len(tokens)), lengths)
    starts = np.cumsum(lengths) - lengths
    seen = np.concatenate(tokens)
    allowed = guesses.allowed[seen]
    wanted = np.maximum(1, np.rint(share * np.bincount(rows, weights=allowed, minlength=len(tokens))))
    # The words of each text in an order drawn by lot, with what may not be hidden behind them.
    lot = np.lexsort((rng.random(len(seen)), ~allowed, rows))
    place = np.sort(lot[np.arange(len(seen)) - starts[rows] < wanted[rows]])
    answers = seen[place]
    outcome = rng.random(len(place))
    seen[place[outcome < _MASKED]] = guesses.mask
    replaced = place[(outcome >= _MASKED) & (outcome < _MASKED + _RANDOM)]
    seen[replaced] = rng.choice(guesses.numbers, len(replaced))
    return _Masked(np.split(seen, starts[1:]), rows[place], place - starts[rows[place]], answers)


def _guess(encoder: Encoder, head: _Head, masked: _Masked) -> torch.Tensor:
    """Return the mean cross-entropy of the hidden tokens; the head looks at their places only."""
    ids, mask = encoder.pad(masked.tokens)  # type: ignore[arg-type]
    rows, columns, answers = (
        torch.from_numpy(part).to(encoder.device) for part in (masked.rows, masked.columns, masked.answers)
    )
    with encoder.autocast():
        hidden = encoder.run_layers(encoder.embed_tokens(ids), mask, encoder.layers)
        logits = head(hidden[rows, columns], encoder.model.get_input_embeddings().weight)
    return functional.cross_entropy(logits.float(), answers)


class _Head(nn.Module):
    """Hidden states to logits over the vocabulary, through the encoder's own word vectors."""

    def __init__(self, hidden_size: int, word_size: int, words: int, epsilon: float) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden_size, word_size)
        self.norm = nn.LayerNorm(word_size, eps=epsilon)
        self.bias = nn.Parameter(torch.zeros(words))
        nn.init.normal_(self.dense.weight, 0.0, _INITIAL)
        nn.init.zeros_(self.dense.bias)

    def forward(self, hidden: torch.Tensor, word_vectors: torch.Tensor) -> torch.Tensor:
        return functional.linear(self.norm(functional.gelu(self.dense(hidden))), word_vectors, self.bias)


def _make_head(encoder: Encoder) -> _Head:
    words, word_size = encoder.model.get_input_embeddings().weight.shape
    config = encoder.model.config
    head = _Head(config.hidden_size, word_size, words, config.layer_norm_eps)
    trained = _load_trained_head(encoder.model.name_or_path)
    if trained:
        head.load_state_dict(trained)
    return head.to(encoder.device)


def _load_trained_head(checkpoint: str) -> dict[str, Any] | None:
    """Return the weights of the head that a checkpoint was trained with, or None where its file holds none."""
    from transformers import AutoModelForMaskedLM

    try:
        model, loaded = AutoModelForMaskedLM.from_pretrained(
            checkpoint, trust_remote_code=False, use_safetensors=True, dtype="float32", output_loading_info=True
        )
    except OSError:
        # The encoder was loaded from a folder that is gone: nothing is left to read.
        return None
    body = f"{model.base_model_prefix}."
    if any(not key.startswith(body) for key in loaded["missing_keys"]):
        return None
    output = model.get_output_embeddings()
    # Each family has its own names for the same three parts.
    parts = [part for name, part in model.named_modules() if not name.startswith(body) and part is not output]
    dense = next(part for part in parts if isinstance(part, nn.Linear))
    norm = next(part for part in parts if isinstance(part, nn.LayerNorm))
    return {
        "dense.weight": dense.weight,
        "dense.bias": dense.bias,
        "norm.weight": norm.weight,
        "norm.bias": norm.bias,
        "bias": output.bias,
    }

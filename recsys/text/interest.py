"""The interest model: how much a user's history asks for an item, by texts and, if wanted, by order and item."""

from __future__ import annotations

from copy import copy, deepcopy
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from scipy.sparse import csr_array
from torch import nn
from torch.nn import functional

from recsys.config import InterestConfig
from recsys.dataset.histories import Histories
from recsys.dataset.id_map import IdMap
from recsys.text.encoder import Progress
from recsys.text.hashed_terms import count_words, scale_words, weigh_buckets
from recsys.text.next_item_batches import NextItemBatch, NextItemSampler, cut_stretches, find_items, find_length
from recsys.text.towers import INITIAL, Stretches, add_up, make_tower, take

_USERS_AT_ONCE = 128
_MAX_GRADIENT = 5.0
# A logit that no softmax sees, and from which gradients are still numbers.
_NEVER = -1e9


class InterestModel:
    """Dot product of a user vector and an item vector.

    An item's vector is a linear map of its text's embedding, or the embedding plus such a map, made unit length; with
    `residual` a vector of its own is added, learned for items that training has seen. It says what texts cannot know,
    and because it is dropped at random while training, items without one are placed by their text alone. With `words`
    the vectors of the terms in its text are added too, which new items have like all others. A user's
    vector is the tower's state after the newest item. All is trained together on every next item of the histories by a
    softmax over the catalogue or over shared negatives drawn evenly (Klenitskiy and Vasilev 2023, RecSys: with a loss
    over enough items the plain architecture is as good as later ones).

    Args:
        embedding_size: length of the encoder's vectors.
        config: shape and training.

    Attributes:
        trained: False: there was nothing to learn from, or nobody asked.
    """

    def __init__(self, embedding_size: int, config: InterestConfig) -> None:
        self._config = config
        with torch.random.fork_rng(devices=[]):
            # Also one that is never trained has the same bytes each time.
            torch.manual_seed(0)
            self._network = _Network(embedding_size, config).eval()
        self._item_ids: pl.Series | None = None
        self._residuals: torch.Tensor | None = None
        # Of each bucket of words, how much it tells; and of each item of the catalogue, what its words add up to.
        self._bucket_weights: NDArray[np.float32] | None = None
        self._said: torch.Tensor | None = None
        self.trained = False

    @property
    def speaks(self) -> bool:
        """The scores mean something: it is trained, or of the kind that starts from the plain cosine."""
        return self.trained or self._config.size is None

    def fit(
        self,
        histories: Histories,
        embeddings: NDArray[np.float32],
        seed: int,
        progress: Progress | None = None,
        *,
        texts: pl.Series | None = None,
        start: InterestModel | None = None,
        bfloat16: bool = False,
    ) -> list[float]:
        """Train on "given the history so far, which item came next?" at many places of each history.

        Items that nobody has touched are no negatives: they would be taught to stand low only because they are new.

        Args:
            histories: as of the cut-off. Without an order every draw shuffles them.
            embeddings: (n_items, embedding_size) float32, unit rows, in the order of `histories.item_ids`.
            seed: draws initial weights, order, stretches, negatives and dropout.
            progress: called with 1 after each step.
            texts: (n_items) of all items; needed for words.
            start: a model of the same config as of an earlier cut-off, from which to go on.
            bfloat16: run matrix products in it; the weights stay float32.

        Returns:
            Mean loss of each epoch; empty where no history has two items.
        """
        config = self._config
        touched = np.bincount(histories.items, minlength=histories.n_items) > 0
        pool = np.flatnonzero(touched)
        drawer = NextItemSampler(histories, pool, config, seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network, residuals = self._begin(histories, embeddings, start)
            words = self._count_words(texts, pool, start)
            learned = [*network.parameters(), *([] if residuals is None else [residuals])]
            optimizer, steps = self._make_optimizer(network, residuals), self.count_steps(histories, start)
            scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, config.last_learning_share, max(1, steps))
            vectors, means = torch.from_numpy(embeddings), []
            for batches in drawer.draw_epochs(steps):
                losses = []
                for users in batches:
                    questions = drawer.ask(users)
                    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                        loss = _answer(network, vectors, residuals, words, questions, histories.ordered, config)
                    optimizer.zero_grad()
                    loss.backward()  # type: ignore[no-untyped-call]
                    nn.utils.clip_grad_norm_(learned, _MAX_GRADIENT)
                    optimizer.step()
                    scheduler.step()
                    losses.append(float(loss.detach()))
                    if progress:
                        progress(1)
                means.append(float(np.mean(losses)))
        if means or (start and start.trained):
            self._network, self.trained = network.eval(), True
            if residuals is not None:
                self._residuals = residuals.detach() * torch.from_numpy(touched)[:, None]
            self._item_ids = histories.item_ids
            self._said = self._add_up(words)
        return means

    def count_steps(self, histories: Histories, start: InterestModel | None = None) -> int:
        """Return how many steps `fit` will take, for a progress bar."""
        config = self._config
        if not config.epochs:
            return 0
        epochs = config.refresh_epochs if start and start.trained else config.epochs
        batches = -(-int((histories.lengths > 1).sum()) // config.batch_size)
        # Who goes on from an earlier model may take as much less of the most steps.
        return min(epochs * batches, -(-config.max_steps * epochs // config.epochs))

    def align(self, item_ids: pl.Series) -> InterestModel:
        """Return the model over another catalogue; items it does not know have no residual, and words must be read."""
        if self._item_ids is None or self._item_ids.equals(item_ids):
            return self
        moved = copy(self)
        moved._item_ids, moved._said = item_ids, None
        if self._residuals is not None:
            trained = torch.from_numpy(IdMap(self._item_ids).index_of(item_ids))
            moved._residuals = self._residuals[trained] * (trained >= 0)[:, None]
        return moved

    def read_words(self, texts: pl.Series) -> InterestModel:
        """Return the model with the words of its catalogue's texts read, if it has any use for them and has not yet."""
        if not self.trained or not self._config.hashed_terms or self._said is not None:
            return self
        reader = copy(self)
        reader._said = self._add_up(self._weigh_words(count_words(texts, self._config.hashed_terms)))
        return reader

    def item_vectors(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (n_items, size) float32 of the model's catalogue, unit rows where the config has no size."""
        with torch.inference_mode():
            vectors: NDArray[np.float32] = self._network.place(
                torch.from_numpy(embeddings), self._residuals, self._said
            ).numpy()
        return vectors

    def user_vectors(self, histories: Histories, item_vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (n_users, size) float32 of histories over the model's catalogue; zeros for an empty one.

        Args:
            histories: as of the cut-off.
            item_vectors: from `item_vectors`.
        """
        vectors = np.zeros((histories.n_users, item_vectors.shape[1]), dtype=np.float32)
        items = torch.from_numpy(item_vectors)
        # Users of like length go through together, so that little is padded.
        present = np.flatnonzero(histories.lengths > 0)
        order = present[np.argsort(histories.lengths[present], kind="stable")]
        with torch.inference_mode():
            for start in range(0, len(order), _USERS_AT_ONCE):
                some = order[start : start + _USERS_AT_ONCE]
                # Always as many, the last one again and again: a product's last bits depend on how many rows it has.
                users = np.pad(some, (0, _USERS_AT_ONCE - len(some)), mode="edge")
                entries, real = cut_stretches(histories, users, find_length(histories, self._config), None)
                rows, last = np.arange(len(users)), real.sum(axis=1) - 1
                sequences = find_items(histories, entries, real)
                stretches = Stretches(sequences, real, histories.ordered, rows, last)
                vectors[some] = self._network.read(items, stretches).numpy()[: len(some)]
        return vectors

    def save(self, path: Path) -> None:
        """Write weights and residuals as safetensors; the catalogue is the caller's to keep."""
        more = {} if self._residuals is None else {"residuals": self._residuals}
        if self._bucket_weights is not None:
            more["bucket_weights"] = torch.from_numpy(self._bucket_weights)
        save_file({**self._network.state_dict(), **more, "trained": torch.tensor(self.trained)}, path)

    @classmethod
    def load(cls, path: Path, item_ids: pl.Series, config: InterestConfig) -> InterestModel:
        """Read what `save` wrote over the same catalogue."""
        state = load_file(path)
        model = cls(state["map.weight"].shape[1], config)
        model.trained = bool(state.pop("trained"))
        model._item_ids, model._residuals = item_ids, state.pop("residuals", None)
        if "bucket_weights" in state:
            model._bucket_weights = state.pop("bucket_weights").numpy()
        model._network.load_state_dict(state)
        return model

    def _begin(
        self, histories: Histories, embeddings: NDArray[np.float32], start: InterestModel | None
    ) -> tuple[_Network, nn.Parameter | None]:
        """Return what is to be trained: weights, and residuals if any, from an earlier model or from nothing."""
        if start is not None and start.trained:
            network, residuals = deepcopy(start._network), start.align(histories.item_ids)._residuals
        else:
            network, residuals = _Network(embeddings.shape[1], self._config), None
            if self._config.residual:
                # Beside unit vectors they may start at nothing; beside a random map that would say less than the map.
                spread = 0.0 if self._config.size is None else INITIAL
                residuals = torch.randn(histories.n_items, network.map.out_features) * spread
        return network.train(), None if residuals is None else nn.Parameter(residuals.clone())

    def _make_optimizer(self, network: _Network, residuals: nn.Parameter | None) -> torch.optim.Optimizer:
        config = self._config
        plain = [one for name, one in network.named_parameters() if name != "words"]
        groups: list[dict[str, object]] = [{"params": [*plain, *([] if residuals is None else [residuals])]}]
        if network.words is not None:
            groups.append({"params": [network.words], "lr": config.hashed_terms_learning_rate, "weight_decay": 0.0})
        return torch.optim.AdamW(groups, config.learning_rate, weight_decay=config.weight_decay, fused=True)

    def _count_words(
        self, texts: pl.Series | None, pool: NDArray[np.int64], start: InterestModel | None
    ) -> csr_array | None:
        """Return the items' words, weighed as in the earlier model, or by those of touched items."""
        if texts is None or not self._config.hashed_terms:
            return None
        words = count_words(texts, self._config.hashed_terms)
        if start is not None and start.trained:
            self._bucket_weights = start._bucket_weights
        else:
            self._bucket_weights = weigh_buckets(csr_array(words[pool]))
        return self._weigh_words(words)

    def _weigh_words(self, words: csr_array) -> csr_array | None:
        return None if self._bucket_weights is None else scale_words(words, self._bucket_weights)

    def _add_up(self, words: csr_array | None) -> torch.Tensor | None:
        """Return (n_items, size): what each item's words add up to."""
        if words is None or self._network.words is None:
            return None
        return torch.from_numpy(words @ self._network.words.detach().numpy())


class _Network(nn.Module):
    """What is learned apart from residuals."""

    def __init__(self, embedding_size: int, config: InterestConfig) -> None:
        super().__init__()
        size = config.size or embedding_size
        self._unit = config.size is None
        self.map = nn.Linear(embedding_size, size, bias=False)
        nn.init.normal_(self.map.weight, 0.0, 0.0 if self._unit else INITIAL)
        self.tower = make_tower(size, config)
        self.words = nn.Parameter(torch.zeros(config.hashed_terms, size)) if config.hashed_terms else None

    def place(
        self, texts: torch.Tensor, residuals: torch.Tensor | None, said: torch.Tensor | None = None
    ) -> torch.Tensor:
        """(n, embedding_size) embeddings, and what is added to them, to (n, size) item vectors."""
        vectors: torch.Tensor = texts + self.map(texts) if self._unit else self.map(texts)
        for more in (residuals, said):
            vectors = vectors if more is None else vectors + more
        return functional.normalize(vectors, dim=-1) if self._unit else vectors

    def read(self, vectors: torch.Tensor, stretches: Stretches) -> torch.Tensor:
        """(n, size) item vectors to (n_asked, size) user vectors, one after each place that is asked about."""
        states: torch.Tensor = self.tower(vectors, stretches)
        return functional.normalize(states, dim=-1) if self._unit else states


def _answer(
    network: _Network,
    texts: torch.Tensor,
    residuals: torch.Tensor | None,
    words: csr_array | None,
    questions: NextItemBatch,
    ordered: bool,
    config: InterestConfig,
) -> torch.Tensor:
    """Return the mean weighted softmax loss of every answer against the negatives of its question."""
    sequences, negatives = questions.items, questions.negatives
    needed, places = np.unique(np.concatenate([sequences.ravel(), negatives]), return_inverse=True)
    rows = torch.from_numpy(needed)
    own = said = None
    if residuals is not None:
        own = residuals[rows] * (torch.rand(len(needed), 1) >= config.residual_dropout)
    if words is not None and network.words is not None:
        said = add_up(network.words, words[needed]) * (torch.rand(len(needed), 1) >= config.hashed_terms_dropout)
    vectors = network.place(texts[rows], own, said)
    inside = places[: sequences.size]
    past = inside.reshape(sequences.shape)[:, :-1]
    stretches = Stretches(past, questions.real[:, :-1], ordered, questions.rows, questions.places)
    states = network.read(vectors, stretches)
    if config.size is None:
        states = states / config.temperature
    right = (take(states, questions.asked) * take(vectors, inside[questions.answers])).sum(dim=1).float()
    wrong = (states @ take(vectors, places[sequences.size :]).T).float() + float(np.log(questions.stands_for))
    owned = torch.from_numpy(questions.owned)[torch.from_numpy(questions.rows)]
    against = take(wrong.masked_fill(owned, _NEVER).logsumexp(dim=1, keepdim=True), questions.asked).squeeze(1)
    losses = torch.logaddexp(right, against) - right
    return (losses * torch.from_numpy(questions.weights)).mean()

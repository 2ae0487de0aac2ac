"""The interest model: scores items for a user's history by their texts, and optionally by order and item identity."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy, deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from scipy.sparse import csr_array
from torch import nn

from recsys.config import InterestConfig
from recsys.dataset.histories import Histories
from recsys.dataset.id_map import IdMap
from recsys.dataset.item_vectors import Vectors
from recsys.errors import DataError
from recsys.progress import format_count
from recsys.text.device import keep_on, pick_device, seeded
from recsys.text.encoder import Progress
from recsys.text.hashed_terms import count_hashed_terms, scale_terms, weigh_buckets
from recsys.text.interest_network import InterestLoss, InterestNetwork, read_lengths
from recsys.text.next_item_batches import NextItemBatch, NextItemSampler, look_up_items, select_spans, span_length
from recsys.text.term_sums import TermSums, count_steps_per_update
from recsys.text.towers import INITIAL_STD, HistorySpans
from recsys.text.training.loop import TrainingLoop

_BLOCK_USERS = 128
_MAX_GRADIENT_NORM = 5.0


class InterestModel:
    """Scores an item by the dot product of a user vector and an item vector.

    An item vector is a linear map of the text's embedding, or the embedding plus such a map, made unit length. With
    `residual`, each item seen in training gets an additional vector, for what its text does not express;
    because residuals are dropped at random in training, items without one are scored well by their text alone. With
    `hashed_terms`, the vectors of the terms in the text are added too, which new items have like all others. A user
    vector is the tower's state after the newest item. All weights are trained together to predict every next item of
    the histories, with a softmax over the catalogue or over shared, uniformly drawn negatives (Klenitskiy and Vasilev
    2023, RecSys: with a softmax over enough items the plain architecture matches later ones).

    Vectors of the items from elsewhere, such as an image encoder's, are added too, each by a linear map of its own.
    Texts and vectors are dropped out at random in training, so that an item without one is scored well by the others.

    Args:
        embedding_size: length of the encoder's vectors.
        config: shape and training.
        lengths: of the items' vectors from elsewhere, by name; `fit` takes those that it is given.

    Attributes:
        device: where it trains and runs.
        trained: False until `fit` found something to learn from.
    """

    def __init__(self, embedding_size: int, config: InterestConfig, lengths: Mapping[str, int] | None = None) -> None:
        self._config = config
        self.device = pick_device()
        # Seeded, so that an untrained model is saved as the same bytes each time.
        with seeded(0, self.device):
            self._network = InterestNetwork(embedding_size, config, lengths).to(self.device).eval()
        self._item_ids: pl.Series | None = None
        self._residuals: torch.Tensor | None = None
        # The weight of each bucket of hashed terms, and for each item the sum of its terms' vectors.
        self._bucket_weights: NDArray[np.float32] | None = None
        self._term_vectors: torch.Tensor | None = None
        # The texts that it was trained with and their hashed terms, for models that continue from it.
        self._counted: tuple[pl.Series, csr_array] | None = None
        self.trained = False

    @property
    def is_informative(self) -> bool:
        """Whether scores carry information: the model is trained, or starts from the cosine of embeddings."""
        return self.trained or self._config.size is None

    def fit(
        self,
        histories: Histories,
        embeddings: NDArray[np.float32],
        seed: int,
        progress: Progress | None = None,
        *,
        texts: pl.Series | None = None,
        vectors: Mapping[str, Vectors] | None = None,
        start: InterestModel | None = None,
        precision: str = "float32",
    ) -> list[float]:
        """Train the model to predict the next item at many steps of each history.

        Items without interactions are not negatives: that would teach the model low scores for all new items.

        Args:
            histories: as of the cutoff. Without an order, each draw shuffles them.
            embeddings: (n_items, embedding_size) float32, unit rows, in the order of `histories.item_ids`.
            seed: draws initial weights, order, spans, negatives and dropout.
            progress: called with 1 after each step.
            texts: (n_items) of all items; needed for hashed terms.
            vectors: of the items from elsewhere, by name.
            start: a model of the same config as of an earlier cutoff, from which training continues.
            precision: of matrix products, `float32` or `bfloat16`; the weights stay float32.

        Returns:
            Mean loss of each epoch; empty if no history has two items.
        """
        config, steps = self._config, self.count_steps(histories, start)
        interacted = np.bincount(histories.items, minlength=histories.n_items) > 0
        pool = np.flatnonzero(interacted)
        sampler = NextItemSampler(histories, pool, config, seed)
        with seeded(seed, self.device):
            network, residuals = self._initialize(histories, embeddings, vectors or {}, start)
            terms = self._weigh_terms(texts, pool, start)
            sums = _make_term_sums(network, terms, config, steps, continued=start is not None and start.trained)
            optimizer = self._make_optimizer(network, residuals)
            loss = InterestLoss(
                network,
                self._to_device(embeddings),
                residuals,
                sums,
                self._gather(network, vectors),
                histories.ordered,
                config,
                precision,
            )
            loop = TrainingLoop(
                loss.compute,
                optimizer,
                torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, config.last_learning_share, max(1, steps)),
                optimizer.param_groups[0]["params"],
                _MAX_GRADIENT_NORM,
                after_update=None if sums is None else lambda _: sums.advance(),
            )
            means = [_run_epoch(loop, sampler, user_batches, progress) for user_batches in sampler.draw_epochs(steps)]
        if sums is not None:
            sums.store()
        if means or (start and start.trained):
            self._network, self.trained = network.eval(), True
            if residuals is not None:
                # Residuals that no history trained are random; such items are scored by their text.
                self._residuals = residuals.detach() * self._to_device(interacted)[:, None]
            self._item_ids = histories.item_ids
            self._term_vectors = self._sum_term_vectors(terms)
        return means

    def count_steps(self, histories: Histories, start: InterestModel | None = None) -> int:
        """Return how many steps `fit` will take, for a progress bar."""
        config = self._config
        if not config.epochs:
            return 0
        epochs = config.refresh_epochs if start and start.trained else config.epochs
        batches = -(-int((histories.lengths > 1).sum()) // config.batch_size)
        # The limit shrinks in proportion when training continues from an earlier model.
        return min(epochs * batches, -(-config.max_steps * epochs // config.epochs))

    def align(self, item_ids: pl.Series) -> InterestModel:
        """Return the model over another catalogue; unknown items have no residual, and terms must be computed again."""
        if self._item_ids is None or self._item_ids.equals(item_ids):
            return self
        aligned = copy(self)
        aligned._item_ids, aligned._term_vectors = item_ids, None
        if self._residuals is not None:
            rows = self._to_device(IdMap(self._item_ids).index_of(item_ids))
            # An unknown item's row is -1, which would select the last item's residual.
            aligned._residuals = self._residuals[rows] * (rows >= 0)[:, None]
        return aligned

    def with_term_vectors(self, texts: pl.Series) -> InterestModel:
        """Return the model with the term vectors of its catalogue's texts computed, if it uses them and lacks them."""
        if not self.trained or not self._config.hashed_terms or self._term_vectors is not None:
            return self
        model = copy(self)
        if self._bucket_weights is not None:
            terms = scale_terms(count_hashed_terms(texts, self._config.hashed_terms), self._bucket_weights)
            model._term_vectors = self._sum_term_vectors(terms)
        return model

    def item_vectors(
        self, embeddings: NDArray[np.float32], vectors: Mapping[str, Vectors] | None = None
    ) -> NDArray[np.float32]:
        """Return (n_items, size) float32 of the model's catalogue, unit rows if the config has no size.

        Args:
            embeddings: (n_items, embedding_size) float32, unit rows.
            vectors: of the items from elsewhere, by name; others than those of the training are not used.

        Raises:
            DataError: there are no vectors of a name that the model was trained with, or they have another length.
        """
        with torch.inference_mode():
            own = self._gather(self._network, vectors)
            item_vectors: NDArray[np.float32] = (
                self._network.item_vectors(self._to_device(embeddings), self._residuals, self._term_vectors, own)
                .cpu()
                .numpy()
            )
        return item_vectors

    def user_vectors(self, histories: Histories, item_vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (n_users, size) float32 of histories over the model's catalogue; zeros for an empty history.

        Args:
            histories: as of the cutoff.
            item_vectors: from `item_vectors`.
        """
        vectors = np.zeros((histories.n_users, item_vectors.shape[1]), dtype=np.float32)
        items = keep_on(self.device, item_vectors)
        # Users with histories of similar length share a block, so that there is little padding.
        active = np.flatnonzero(histories.lengths > 0)
        order = active[np.argsort(histories.lengths[active], kind="stable")]
        with torch.inference_mode():
            for start in range(0, len(order), _BLOCK_USERS):
                block = order[start : start + _BLOCK_USERS]
                # Every block is full, the last one by repeating its last user: the last bits of a matrix product depend
                # on its number of rows.
                users = np.pad(block, (0, _BLOCK_USERS - len(block)), mode="edge")
                entries, mask = select_spans(histories, users, span_length(histories, self._config), None)
                rows, newest = np.arange(len(users)), mask.sum(axis=1) - 1
                spans = HistorySpans(look_up_items(histories, entries, mask), mask, histories.ordered, rows, newest)
                vectors[block] = self._network.user_vectors(items, spans).cpu().numpy()[: len(block)]
        return vectors

    def save(self, path: Path) -> None:
        """Write weights and residuals as safetensors, without the ids of the catalogue."""
        tensors = {} if self._residuals is None else {"residuals": self._residuals}
        if self._bucket_weights is not None:
            tensors["bucket_weights"] = torch.from_numpy(self._bucket_weights)
        save_file({**self._network.state_dict(), **tensors, "trained": torch.tensor(self.trained)}, path)

    @classmethod
    def load(cls, path: Path, item_ids: pl.Series, config: InterestConfig) -> InterestModel:
        """Load what `save` wrote, over the same catalogue."""
        state = load_file(path)
        model = cls(state["map.weight"].shape[1], config, read_lengths(state))
        model.trained = bool(state.pop("trained"))
        residuals = state.pop("residuals", None)
        model._item_ids, model._residuals = item_ids, None if residuals is None else residuals.to(model.device)
        if "bucket_weights" in state:
            model._bucket_weights = state.pop("bucket_weights").numpy()
        model._network.load_state_dict(state)
        return model

    def _initialize(
        self,
        histories: Histories,
        embeddings: NDArray[np.float32],
        vectors: Mapping[str, Vectors],
        start: InterestModel | None,
    ) -> tuple[InterestNetwork, nn.Parameter | None]:
        """Return the weights, and residuals if any, of an earlier model or newly initialised."""
        if start is not None and start.trained:
            network, residuals = deepcopy(start._network), start.align(histories.item_ids)._residuals
        else:
            lengths = {name: own.rows.shape[1] for name, own in vectors.items()}
            network, residuals = InterestNetwork(embeddings.shape[1], self._config, lengths), None
            if self._config.residual:
                # Added to unit vectors residuals may start at zero; added to a random map they may not.
                std = 0.0 if self._config.size is None else INITIAL_STD
                residuals = torch.randn(histories.n_items, network.map.out_features) * std
        # Drawn on the CPU, so that initial weights do not depend on the device.
        network = network.to(self.device).train()
        return network, None if residuals is None else nn.Parameter(residuals.to(self.device, copy=True))

    def _make_optimizer(self, network: InterestNetwork, residuals: nn.Parameter | None) -> torch.optim.Optimizer:
        """Return the optimiser of all weights but the vectors of terms, which `TermSums` moves."""
        config = self._config
        weights = [parameter for name, parameter in network.named_parameters() if name != "words"]
        weights += [] if residuals is None else [residuals]
        return torch.optim.AdamW(weights, config.learning_rate, weight_decay=config.weight_decay, fused=True)

    def _weigh_terms(
        self, texts: pl.Series | None, pool: NDArray[np.int64], start: InterestModel | None
    ) -> csr_array | None:
        """Return the items' weighted terms; the weights are those of the earlier model, or computed from the pool."""
        if texts is None or not self._config.hashed_terms:
            return None
        if start is not None and start._counted is not None and start._counted[0].equals(texts):
            self._counted = start._counted
        else:
            self._counted = texts, count_hashed_terms(texts, self._config.hashed_terms)
        counts = self._counted[1]
        if start is not None and start.trained:
            self._bucket_weights = start._bucket_weights
        else:
            self._bucket_weights = weigh_buckets(csr_array(counts[pool]))
        return None if self._bucket_weights is None else scale_terms(counts, self._bucket_weights)

    def _sum_term_vectors(self, terms: csr_array | None) -> torch.Tensor | None:
        """Return (n_items, size) float32: for each item the weighted sum of its terms' vectors."""
        if terms is None or self._network.words is None:
            return None
        return self._to_device(terms @ self._network.words.detach().cpu().numpy())

    def _gather(self, network: InterestNetwork, vectors: Mapping[str, Vectors] | None) -> list[torch.Tensor]:
        """Return (n_items, length) float32 of each of the names that a network has a map for."""
        gathered = []
        for name, length in network.lengths.items():
            own = (vectors or {}).get(name)
            found = "none" if own is None else format_count(own.rows.shape[1], "number")
            if own is None or own.rows.shape[1] != length:
                raise DataError(
                    f"interest model: was trained with vectors '{name}' of {format_count(length, 'number')}, found "
                    f"{found}; ingest the items with the vectors of the training, or train again"
                )
            gathered.append(self._to_device(own.rows))
        return gathered

    def _to_device(self, array: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(array).to(self.device)


def _make_term_sums(
    network: InterestNetwork, terms: csr_array | None, config: InterestConfig, steps: int, *, continued: bool
) -> TermSums | None:
    """Return the sums of the items' terms to train; None if no item has a term with a weight."""
    if network.words is None or terms is None or not terms.nnz:
        return None
    return TermSums(network.words, terms, config, steps, count_steps_per_update(steps, continued))


def _run_epoch(
    loop: TrainingLoop[NextItemBatch],
    sampler: NextItemSampler,
    user_batches: list[NDArray[np.int64]],
    progress: Progress | None,
) -> float:
    """Train on one batch of next items per batch of users, and return the mean loss."""
    losses = []
    for _, loss in loop.run(sampler.sample(users) for users in user_batches):
        losses.append(loss)
        if progress:
            progress(1)
    return float(np.mean(losses))

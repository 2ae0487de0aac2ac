"""What a fine-tuning learns from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.dataset.histories import Histories
from recsys.text.training.layer_inputs import LayerInputs


@dataclass(frozen=True)
class FineTuningData:
    """What a fine-tuning learns from.

    Attributes:
        inputs: every item's text, in the order of `histories.item_ids`.
        histories: as of the cutoff; nothing later is learned.
        factors: (n_items, factor_size) float32 collaborative factors, NaN rows for items without; for `cf_alignment`
            and hard negatives from ALS.
        fields: for each text, the field of each token, -1 for special tokens; for `field_dropout`. None: one field.
        vectors: (n_items, embedding_size) float32 of the texts by the encoder before training; None: computed.
        new_days: examples are the interactions younger than this, and as many older ones, which are replayed against
            forgetting; None: all interactions alike.
    """

    inputs: LayerInputs
    histories: Histories
    factors: NDArray[np.float32] | None = None
    fields: Sequence[NDArray[np.int16]] | None = None
    vectors: NDArray[np.float32] | None = None
    new_days: float | None = None

    @property
    def text_lengths(self) -> NDArray[np.int64]:
        """Tokens of each text, (n_items) int64."""
        return np.diff(self.inputs.starts)

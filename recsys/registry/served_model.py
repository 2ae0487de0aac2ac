"""The bundle as an MLflow model, stored as this code instead of a pickle.

Input: one row per interaction, oldest first, with `user_id` and `item_id`, and optionally `time` and `event`. Output: a
list for each user.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from recsys.serving.bundle import Bundle
from recsys.serving.history_recommender import recommend_for

# Columns of a history; the first two are required.
_COLUMNS = ("user_id", "item_id", "time", "event")


class ServedBundle(PythonModel):  # type: ignore[misc]
    """Recommends for given histories, with the catalogue as of the bundle's training."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the bundle that was logged with the model."""
        self._bundle = Bundle.load(Path(context.artifacts["bundle"]))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Return `user_id`, `rank`, `item_id`, `score`, sorted by user, then rank; see `recommend_for`.

        Optional columns: `time` (instants in UTC; MLflow takes them without a zone) and `event` (the kind). A column
        that is empty throughout counts as absent.
        """
        columns = [name for name in _COLUMNS if name in model_input and model_input[name].notna().any()]
        history = pl.DataFrame({name: _read_column(model_input[name]) for name in columns})
        return recommend_for(self._bundle, history).to_pandas()


def _read_column(values: pd.Series) -> pl.Series:
    """Return a column: instants as they are, anything else as text."""
    if pd.api.types.is_datetime64_any_dtype(values):
        return pl.Series(pl.from_pandas(values))
    return pl.Series([None if pd.isna(value) else str(value) for value in values], dtype=pl.String)


set_model(ServedBundle())

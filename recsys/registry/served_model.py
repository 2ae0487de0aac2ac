"""The bundle as an MLflow model, stored as this code instead of a pickle.

Input: one row per interaction, oldest first, with `user_id` and `item_id`. Output: a list for each user.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from recsys.serving.bundle import Bundle, recommend_for


class ServedBundle(PythonModel):  # type: ignore[misc]
    """Recommends for given histories, with the catalogue as of the bundle's training."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the bundle that was logged with the model."""
        self._bundle = Bundle.load(Path(context.artifacts["bundle"]))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Return `user_id`, `rank`, `item_id`, `score`, sorted by user, then rank."""
        history = pl.DataFrame({name: model_input[name].astype(str).to_list() for name in ("user_id", "item_id")})
        return recommend_for(self._bundle, history).to_pandas()


set_model(ServedBundle())

"""The bundle as an MLflow model, stored as this code instead of a pickle.

Input: one row per interaction, oldest first, with `user_id` and `item_id`, and optionally `time` and `event`. A row
without an item asks for the list of a user without a history. Output: a list for each user.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from recsys.errors import DataError, RecsysError
from recsys.serving.bundle import Bundle
from recsys.serving.history_recommender import recommend_for

# Columns of a history; the first two are always made.
_IDS, _DETAILS = ("user_id", "item_id"), ("time", "event")
# The user of rows without a user, and of input without rows.
ANONYMOUS = "anonymous"


class ServedBundle(PythonModel):  # type: ignore[misc]
    """Recommends for given histories, with the catalogue as of the bundle's training."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the bundle that was logged with the model."""
        self._bundle = Bundle.load(Path(context.artifacts["bundle"]))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Return `user_id`, `rank`, `item_id`, `score`, sorted by user, then rank; see `recommend_for`.

        Every column may be missing, and every id empty or unknown: a user without known items gets the fallback list,
        and rows without a user are those of one user, `anonymous`; so is input without rows. Optional columns: `time`
        (instants in UTC; MLflow takes them without a zone) and `event` (the kind). A column that is empty throughout
        counts as absent.

        Raises:
            MlflowException: a time or an event kind is not valid; servers answer it with status 400.
        """
        rows = model_input if len(model_input) else pd.DataFrame({"user_id": [ANONYMOUS]})
        try:
            return recommend_for(self._bundle, _read_history(rows)).to_pandas()
        except RecsysError as error:
            raise MlflowException(str(error), error_code=INVALID_PARAMETER_VALUE) from error


def _read_history(rows: pd.DataFrame) -> pl.DataFrame:
    """Return the rows with both ids; a user without a name is `ANONYMOUS`."""
    details = [name for name in _DETAILS if name in rows and rows[name].notna().any()]
    given = {name: _read_column(rows[name]) for name in (*_IDS, *details) if name in rows}
    missing = {name: pl.Series([None] * len(rows), dtype=pl.String) for name in _IDS if name not in rows}
    history = pl.DataFrame({**given, **missing})
    named = pl.col("user_id").str.strip_chars().replace("", None).is_not_null()
    return history.with_columns(pl.when(named).then("user_id").otherwise(pl.lit(ANONYMOUS)).alias("user_id"))


def _read_column(values: pd.Series) -> pl.Series:
    """Return a column: instants as they are, anything else as text.

    Raises:
        DataError: a value is a list or an object.
    """
    if pd.api.types.is_datetime64_any_dtype(values):
        return pl.Series(pl.from_pandas(values))
    nested = next((value for value in values if pd.api.types.is_list_like(value)), None)
    if nested is not None:
        raise DataError(f"history: column '{values.name}' holds {nested!r}, expected a text or null in each row")
    return pl.Series([None if pd.isna(value) else str(value) for value in values], dtype=pl.String)


set_model(ServedBundle())

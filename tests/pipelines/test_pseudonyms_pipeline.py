"""With pseudonyms: what the served model takes, and what a night leaves."""

from dataclasses import replace

import pandas as pd
import polars as pl
import pytest
from miniature import CUTOFF, change
from polars.testing import assert_frame_equal

import recsys
from recsys.artifacts.snapshots import Snapshot
from recsys.dataset.pseudonyms import KEY, Pseudonyms
from recsys.registry.served_model import ServedBundle
from recsys.serving.bundle import Bundle

SECRET = "0123456789abcdef" * 4


def test_the_served_model_looks_nobody_up(bundle: Bundle, snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `user_id` is a label that comes back; so ids and pseudonyms get the same lists, and no key is needed."""
    monkeypatch.delenv(KEY, raising=False)
    served = replace(bundle, config=change(bundle.config, dataset={"pseudonyms": True}))
    events = snapshot.interactions.filter(pl.col("time") < CUTOFF).sort("user_id", "step")
    users = events["user_id"].unique().sort().head(5)
    history = events.filter(pl.col("user_id").is_in(users.implode())).select("user_id", "item_id", "time")
    names = Pseudonyms(SECRET).replace(users)
    renamed = history.with_columns(pl.col("user_id").replace_strict(users, names))

    plain, hidden = recsys.recommend(served, history), recsys.recommend(served, renamed)
    assert set(plain["user_id"]) == set(users)
    assert set(hidden["user_id"]) == set(names)
    back = hidden.with_columns(pl.col("user_id").replace_strict(names, users)).sort("user_id", "rank")
    assert_frame_equal(back, plain)

    model = ServedBundle()
    model._bundle = served
    made = model.predict(None, pd.DataFrame(renamed.select("user_id", "item_id").to_dict(as_series=False)))
    assert set(made["user_id"]) == set(names)

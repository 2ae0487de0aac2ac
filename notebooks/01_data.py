# %% [markdown]
# # What do the users do, and can it carry a recommender?
#
# Reads the latest snapshot of `recsys ingest`. Read-only; no training is needed. Run `make recommend` first, or set
# `config_path` to your own config.

# %% tags=["parameters"]
import os
from pathlib import Path

config_path = Path(os.environ.get("RECSYS_CONFIG", "../configs/demo.yaml"))
run_date = None  # use only events before 00:00 UTC of this day, such as "2025-02-03"; None: all events
_ = os.environ.setdefault("RECSYS_HOME", str(Path("../data/home").resolve()))

# %%
# %matplotlib inline
import numpy as np
import pandas as pd
import polars as pl

import recsys
from recsys.analysis import (
    build_histories,
    describe_data,
    find_recommendable,
    make_texts,
    resolve_end,
    split_snapshot,
)
from recsys.plots import plot_activity, plot_lengths, plot_long_tail, plot_message, plot_timeline

pd.set_option("display.html.use_mathjax", False, "display.max_colwidth", 120)  # titles may contain dollar signs
config = recsys.load_config(config_path)
snapshot = recsys.open_snapshot(config)
items, end = snapshot.items, resolve_end(snapshot.interactions, run_date)
windows = split_snapshot(config, snapshot, end)
test, events = windows.test, windows.everything
segments = config.evaluation.segments
# As of the start of the test window: what a recommender would know on that day.
histories = build_histories(test.history, items, test.cutoff)
item_users = np.bincount(histories.items, minlength=histories.n_items)
known_items = pl.DataFrame(
    {
        "item_id": histories.item_ids,
        "cold": item_users <= segments.cold_item_users,
        "recommendable": find_recommendable(items, test.cutoff),
    }
)
known_users = pl.DataFrame({"user_id": histories.user_ids, "without_history": False})
positives = test.positives.join(known_items, on="item_id").join(known_users, on="user_id", how="left")
positives = positives.with_columns(pl.col("without_history").fill_null(True))

# %% [markdown]
# ## Answer

# %%
print("\n".join(describe_data(positives, histories.lengths, item_users, config.evaluation, config.seed)))

# %% [markdown]
# ## Overview

# %%
pairs = events.select("user_id", "item_id").n_unique()
users, active_items = events["user_id"].n_unique(), events["item_id"].n_unique()
facts = {
    "snapshot": snapshot.id,
    "events": f"{events.height:,}, from {str(events['time'].min())[:16]} to {str(events['time'].max())[:16]}",
    "users": f"{users:,}",
    "items": f"{items.height:,}: {items['available'].sum():,} available, {active_items:,} with at least one event",
    "user-item pairs": f"{pairs:,}: {pairs / (users * items.height):.2%} of all possible pairs",
    "share of events that lists should predict": f"{events['positive'].mean():.1%}",
}
pd.DataFrame({"": facts})

# %% [markdown]
# ## Rejected rows
#
# Ingest keeps every rejected row with the rule it broke. Too many rejected rows stop the run.

# %%
rejected = recsys.read_rejected(config)
rules = rejected.group_by("table", "rule").len("rows").sort(["table", "rows"], descending=[False, True])
print(f"rejected rows: {rejected.height:,}")
rules.to_pandas()

# %% [markdown]
# ## Events over time, and the windows
#
# The evaluation model is fitted on the oldest events, its ranker learns from the label windows, and the newest window
# is the test window. The refit that serves is fitted the same way with all windows moved to the end.

# %%
spans = [(window.name, window.cutoff, window.end) for window in windows.windows]
timed = test.cutoff is not None and events["time"].null_count() == 0
no_timeline = f"protocol {config.windows.protocol}: no common clock, so no timeline"
plot_timeline(events, spans) if timed else plot_message(no_timeline)

# %% [markdown]
# ## How long the histories are
#
# As of the start of the test window: what a recommender would know about each user on that day.

# %%
plot_activity(histories.lengths, segments.new_user_items, segments.heavy_user_items)

# %% [markdown]
# ## The long tail

# %%
plot_long_tail(item_users)

# %% [markdown]
# ## Text lengths
#
# The encoder reads the fields in `text.fields`, one after the other. `02_text_encoder` shows how many texts are
# truncated.

# %%
characters = make_texts(items, config.text.fields).str.len_chars()
plot_lengths(characters.to_numpy().astype(np.int64), "characters")

# %%
filled = {field: (make_texts(items, [field]).str.len_chars() > 0).mean() for field in config.text.fields}
pd.DataFrame({"share of items with this field": filled}).round(3)

# %% [markdown]
# ## The test window
#
# Lists are measured on what users do next. For a user without a history, only popular items can be recommended. An
# item without events is cold: collaborative filtering cannot recommend it, and only its text can.

# %%
groups = positives.group_by("without_history", "cold", "recommendable")
groups = groups.agg(positives=pl.len(), users=pl.col("user_id").n_unique()).sort("positives", descending=True)
groups.to_pandas()

# %% [markdown]
# # How do we do on items without events, and on users with a short history?
#
# Reads the results of one training. Read-only. `evaluation.segments` of the config defines cold items and new users.

# %% tags=["parameters"]
import os
from pathlib import Path

config_path = Path(os.environ.get("RECSYS_CONFIG", "../configs/demo.yaml"))
run_name = None  # a folder below runs/; None: the config's last training
_ = os.environ.setdefault("RECSYS_HOME", str(Path("../data/home").resolve()))

# %%
# %matplotlib inline
import pandas as pd
import polars as pl

import recsys
from recsys.analysis import (
    OURS,
    compute_source_recall,
    count_outcomes,
    describe_cold_items,
    describe_new_users,
)
from recsys.plots import plot_metric_table, plot_outcomes, plot_source_recall

pd.set_option("display.html.use_mathjax", False, "display.max_colwidth", 120)  # titles may contain dollar signs
run = recsys.open_run(config_path, run=run_name)
evaluation = run.config.evaluation
metric, n, segments = evaluation.metric, evaluation.n, evaluation.segments
cold, warm = "items: cold", "items: warm"
lengths = ["users: new", "users: light", "users: heavy"]
histories_only = ["als", "item_to_item", "transitions", "ease", "popular", "popular_all_time"]
by_label = run.segments.with_columns(label=pl.col("dimension") + ": " + pl.col("segment"))
cold_table, new_table = (by_label.filter(pl.col("label") == label) for label in (cold, lengths[0]))
sources = run.ledger["source"].to_list()
proposed = compute_source_recall(run.positives, [cold, warm], sources, evaluation, run.config.seed)
outcomes = count_outcomes(run.positives, [cold, warm])
of_cold = pl.col("segment") == cold

# %% [markdown]
# ## Answer

# %%
print(
    describe_cold_items(
        cold_table, proposed.filter(of_cold), outcomes.filter(of_cold), run.metrics, histories_only, evaluation
    )
)
print(describe_new_users(new_table, evaluation))
print(f"Run {run.name}; cold: at most {segments.cold_item_users} users before the test window")
print(f"New users: at most {segments.new_user_items} items; heavy users: more than {segments.heavy_user_items}")

# %% [markdown]
# ## How many there are

# %%
labels = [cold, warm, *lengths]
counts = run.positives.explode("segments").filter(pl.col("segments").is_in(labels)).group_by("segments")
sizes = counts.agg(positives=pl.len(), users=pl.col("user_id").n_unique()).sort("segments")
sizes.with_columns(share=pl.col("positives") / run.positives.height).to_pandas().round(3)

# %% [markdown]
# ## Which model finds cold items?
#
# The same lists, but only cold positives count. Models that learn from histories alone cannot find them.

# %%
plot_metric_table(cold_table, "recall", n, OURS)

# %% [markdown]
# ## Which source proposes them?
#
# The share of a user's positives that each source proposes, for cold and for warm items. Items that joined the
# catalogue during the test window cannot be proposed; they count as misses.

# %%
plot_source_recall(proposed)

# %%
proposed.filter(of_cold).sort("mean", descending=True).to_pandas().round(4)

# %% [markdown]
# ## Where are they lost?

# %%
plot_outcomes(outcomes)

# %% [markdown]
# ## How many cold items do lists show?
#
# The share of each model's lists that had no earlier events.

# %%
plot_metric_table(run.metrics, "cold_share", n, OURS)

# %% [markdown]
# ## Users with a short history
#
# All models on new users, then the outcomes of the positives of new, light and heavy users.

# %%
plot_metric_table(new_table, metric, n, OURS)

# %%
ours = by_label.filter(pl.col("model") == OURS, pl.col("metric") == metric, pl.col("label").is_in(lengths))
ours.select("label", "users", "positives", "enough", "mean", "low", "high").to_pandas().round(4)

# %%
plot_outcomes(count_outcomes(run.positives, lengths))

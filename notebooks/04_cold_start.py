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
    UNION,
    compute_source_recall,
    count_outcomes,
    describe_verdict,
    format_difference,
    format_mean,
    select_row,
)
from recsys.plots import plot_metric_table, plot_outcomes, plot_source_recall

pd.set_option("display.html.use_mathjax", False, "display.max_colwidth", 120)  # titles may contain dollar signs
run = recsys.open_run(config_path, run=run_name)
evaluation = run.config.evaluation
metric, n, segments = evaluation.metric, evaluation.n, evaluation.segments
cold, warm = "items: cold", "items: warm"
lengths = ["users: new", "users: light", "users: heavy"]
print(f"run {run.name}; cold: at most {segments.cold_item_users} users before the test window")
print(f"new users: at most {segments.new_user_items} items; heavy users: more than {segments.heavy_user_items}")

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
by_label = run.segments.with_columns(label=pl.col("dimension") + ": " + pl.col("segment"))
cold_table = by_label.filter(pl.col("label") == cold)
plot_metric_table(cold_table, "recall", n, OURS)

# %% [markdown]
# ## Which source proposes them?
#
# The share of a user's positives that each source proposes, for cold and for warm items. Items that joined the
# catalogue during the test window cannot be proposed; they count as misses.

# %%
sources = run.ledger["source"].to_list()
proposed = compute_source_recall(run.positives, [cold, warm], sources, evaluation, run.config.seed)
plot_source_recall(proposed)

# %%
proposed.filter(pl.col("segment") == cold).sort("mean", descending=True).to_pandas().round(4)

# %% [markdown]
# ## Where are they lost?

# %%
outcomes = count_outcomes(run.positives, [cold, warm])
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
new_table = by_label.filter(pl.col("label") == lengths[0])
plot_metric_table(new_table, metric, n, OURS)

# %%
ours = by_label.filter(pl.col("model") == OURS, pl.col("metric") == metric, pl.col("label").is_in(lengths))
ours.select("label", "users", "positives", "enough", "mean", "low", "high").to_pandas().round(4)

# %%
plot_outcomes(count_outcomes(run.positives, lengths))

# %% [markdown]
# ## Answer

# %%
histories_only = ["als", "item_to_item", "transitions", "ease", "popular", "popular_all_time"]
recalls = cold_table.filter(pl.col("metric") == "recall").sort("mean", descending=True)
if recalls.is_empty():
    print("Cold items: the test window has no cold positives, so they cannot be measured.")
else:
    ours = select_row(recalls, model=OURS)
    text_model = recalls.filter(pl.col("model").str.contains("text|tfidf")).row(0, named=True)
    history_model = recalls.filter(pl.col("model").is_in(histories_only)).row(0, named=True)
    by_source = proposed.filter(pl.col("segment") == cold, pl.col("source") != UNION).sort("mean")
    best_source = by_source.row(-1, named=True)
    losses = outcomes.filter(pl.col("segment") == cold, pl.col("outcome") != "listed").sort("positives")
    lost = losses.row(-1, named=True)
    shown = select_row(run.metrics, model=OURS, metric="cold_share", n=n)
    print(
        f"Cold items ({ours['positives']:,} positives of {ours['users']:,} users): recall@{n} is {format_mean(ours)} "
        f"for ours, {format_mean(text_model)} for the best text-only model ({text_model['model']}), and "
        f"{format_mean(history_model)} for the best history-only model ({history_model['model']}).\n"
        f"{best_source['source']} proposes most of them: {format_mean(best_source, '.1%')} of a user's. Most others "
        f"are lost as '{lost['outcome']}' ({lost['share']:.0%}). Cold items fill {format_mean(shown, '.1%')} of lists."
        + ("" if ours["enough"] else f" Fewer than {segments.min_users} users: not conclusive.")
    )
rivals = new_table.filter(pl.col("metric") == metric, pl.col("model") != OURS).sort("mean", descending=True)
if rivals.is_empty():
    print("New users: none has a positive in the test window.")
else:
    rival, ours = rivals.row(0, named=True), select_row(new_table, model=OURS, metric=metric)
    print(
        f"New users: {metric}@{n} of ours is {format_mean(ours)}, {describe_verdict(rival)} the best baseline "
        f"({rival['model']}): {format_difference(rival)}."
        + ("" if ours["enough"] else f" Fewer than {segments.min_users} users: not conclusive.")
    )

# %% [markdown]
# # What happens to items nobody has touched, and to users with a short history?
#
# Reads one training of a config; nothing is changed. Cold items and new users are drawn where the config's
# `evaluation.segments` draws the lines.

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

from recsys.artifacts.runs import read_run
from recsys.config import home, load_config
from recsys.evaluation.summaries import select_row, describe_verdict, format_difference, format_mean
from recsys.evaluation.comparison import OURS
from recsys.evaluation.source_recall import count_outcomes, compute_source_recall
from recsys.evaluation.candidate_ledger import UNION
from recsys.visuals.plots import plot_outcomes, plot_source_recall, plot_metric_table

pd.set_option("display.html.use_mathjax", False, "display.max_colwidth", 120)  # dollar signs in titles are no formulas
run = read_run(home(), load_config(config_path).name, run_name)
evaluation = run.config.evaluation
metric, n, lines = evaluation.metric, evaluation.n, evaluation.segments
cold, warm = "items: cold", "items: warm"
lengths = ["users: new", "users: light", "users: heavy"]
print(f"run {run.name}; cold: at most {lines.cold_item_users} users before the test window")
print(f"new users: at most {lines.new_user_items} items; heavy users: more than {lines.heavy_user_items}")

# %% [markdown]
# ## How much of it there is

# %%
labels = [cold, warm, *lengths]
counts = run.positives.explode("segments").filter(pl.col("segments").is_in(labels)).group_by("segments")
sizes = counts.agg(positives=pl.len(), users=pl.col("user_id").n_unique()).sort("segments")
sizes.with_columns(share=pl.col("positives") / run.positives.height).to_pandas().round(3)

# %% [markdown]
# ## Cold items: who is right about them?
#
# The same lists as always; only the cold positives count. What learns from histories alone cannot be right
# here.

# %%
by_label = run.segments.with_columns(label=pl.col("dimension") + ": " + pl.col("segment"))
cold_table = by_label.filter(pl.col("label") == cold)
plot_metric_table(cold_table, "recall", n, OURS)

# %% [markdown]
# ## Which source finds them?
#
# Share of a user's positives that a source proposes at its depth, cold beside warm. Nobody can propose an item
# that joined the catalogue inside the test window; it counts as not found.

# %%
sources = run.ledger["source"].to_list()
found = compute_source_recall(run.positives, [cold, warm], sources, evaluation, run.config.seed)
plot_source_recall(found)

# %%
found.filter(pl.col("segment") == cold).sort("mean", descending=True).to_pandas().round(4)

# %% [markdown]
# ## Where are they lost?

# %%
outcomes = count_outcomes(run.positives, [cold, warm])
plot_outcomes(outcomes)

# %% [markdown]
# ## Do the lists show any?
#
# Share of each model's list that nobody had touched.

# %%
plot_metric_table(run.metrics, "cold_share", n, OURS)

# %% [markdown]
# ## Users with a short history
#
# All models on new users, then where the positives of new, light and heavy users went.

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
    print("Cold items: the test window asks for none, so this data says nothing about them.")
else:
    ours = select_row(recalls, model=OURS)
    reader = recalls.filter(pl.col("model").str.contains("text|tfidf")).row(0, named=True)
    other = recalls.filter(pl.col("model").is_in(histories_only)).row(0, named=True)
    finder = found.filter(pl.col("segment") == cold, pl.col("source") != UNION).sort("mean").row(-1, named=True)
    lost = outcomes.filter(pl.col("segment") == cold, pl.col("outcome") != "listed").sort("positives").row(-1, named=True)
    shown = select_row(run.metrics, model=OURS, metric="cold_share", n=n)
    print(
        f"Cold items ({ours['positives']:,} positives of {ours['users']:,} users): recall@{n} of ours is "
        f"{format_mean(ours)}, of the best that only reads texts ({reader['model']}) {format_mean(reader)}, of the best "
        f"that only knows histories ({other['model']}) {format_mean(other)}.\n"
        f"{finder['source']} finds most of them, {format_mean(finder, '.1%')} of a user's; most are lost as "
        f"'{lost['outcome']}' ({lost['share']:.0%}). Our lists show {format_mean(shown, '.1%')} cold items."
        + ("" if ours["enough"] else f" Fewer than {lines.min_users} users: none of this is proven.")
    )
rivals = new_table.filter(pl.col("metric") == metric, pl.col("model") != OURS).sort("mean", descending=True)
if rivals.is_empty():
    print("New users: none has a positive in the test window.")
else:
    rival, ours = rivals.row(0, named=True), select_row(new_table, model=OURS, metric=metric)
    print(
        f"New users: {metric}@{n} of ours is {format_mean(ours)}, {describe_verdict(rival)} the best rival ({rival['model']}): "
        f"{format_difference(rival)}."
        + ("" if ours["enough"] else f" Fewer than {lines.min_users} users: nothing is proven.")
    )

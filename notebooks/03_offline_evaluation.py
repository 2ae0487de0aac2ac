# %% [markdown]
# # Is our ranking better than its baselines, by how much, and for whom?
#
# Reads one training of a config: nothing is trained here and nothing is changed. Run `make recommend` first, or
# point `config_path` at your own.

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
from recsys.evaluation.summaries import select_row, describe_verdict, format_difference, format_mean, describe_segments
from recsys.evaluation.comparison import OURS
from recsys.evaluation.source_recall import count_outcomes
from recsys.evaluation.candidate_ledger import describe_losses
from recsys.visuals.plots import (
    plot_curves,
    plot_outcomes,
    plot_importance,
    plot_ledger,
    plot_matrix,
    plot_metric_table,
    plot_segments,
)

pd.set_option("display.html.use_mathjax", False, "display.max_colwidth", 120)  # dollar signs in titles are no formulas
run = read_run(home(), load_config(config_path).name, run_name)
evaluation = run.config.evaluation
metric, n = evaluation.metric, evaluation.n
at_n = run.metrics.filter(pl.col("n") == n)
print(f"run {run.name}, protocol {run.facts['protocol']}")
print(f"test window {run.facts['test_start'] or '-'} to {run.facts['test_end'] or '-'}")

# %% [markdown]
# ## All models, the same users
#
# One row per model, measured on the same users with the same items left out; what no source found counts as
# missed. `difference` is ours minus that model, paired by user, with its interval; `p_value` says how often
# chance alone would show a difference this far from 0.

# %%
table = at_n.filter(pl.col("metric") == metric).sort("mean", descending=True)
table.drop("metric", "n").to_pandas().round(4)

# %%
plot_metric_table(run.metrics, metric, n, OURS)

# %%
at_n.pivot("metric", index="model", values="mean").to_pandas().set_index("model").round(4)

# %% [markdown]
# ## For whom?
#
# Ours minus the best rival, for some users, some items, some events. A pale row has too few users to say
# anything; and with twenty rows, one whose interval leaves out 0 is what chance alone would bring.

# %%
best = table.filter(pl.col("model") != OURS).row(0, named=True)
rival = best["model"]
plot_segments(run.segments, metric, n, OURS, rival)

# %% [markdown]
# ## Where did the rest get lost?
#
# Every positive has one outcome: it could not be recommended yet, no source found it or the union was cut above it
# (the loss of retrieval), the ranker put it below n (the loss of ranking), or it was listed.

# %%
print("\n".join(describe_losses(run.measured)))
plot_ledger(run.measured, run.depths)

# %% [markdown]
# What each source found, what the union would lose without it, and its share of our lists. Below: of what the
# source of the row found, the share that the source of the column found as well.

# %%
run.ledger.to_pandas().round(3)

# %%
shares = run.overlap.pivot("other", index="source", values="found_share").select("source", *run.ledger["source"])
sources = shares["source"].to_list()
plot_matrix(sources, sources, shares.drop("source").to_numpy().astype(float), ("found by", "also found by"), ".0%")

# %%
labels = (run.segments["dimension"] + ": " + run.segments["segment"]).unique(maintain_order=True)
plot_outcomes(count_outcomes(run.positives, labels.to_list()))

# %% [markdown]
# ## What does the ranker look at?

# %%
plot_importance(run.importance)

# %%
plot_curves({"ranker_validation_ndcg": run.curves["ranker_validation_ndcg"]})

# %% [markdown]
# ## Without the pull of popularity
#
# Users can only take what they were shown, and popular items are shown more. `recall_ips` weighs each positive
# the less the more users its item had: who lives off popular items falls back here.

# %%
both = at_n.filter(pl.col("metric").is_in(["recall", "recall_ips"])).pivot("metric", index="model", values="mean")
both.sort("recall_ips", descending=True).to_pandas().set_index("model").round(4)

# %%
plot_metric_table(run.metrics, "recall_ips", n, OURS)

# %% [markdown]
# ## Beyond accuracy
#
# `coverage`: share of the catalogue in anyone's list. `gini`: 0 if all items are shown equally often, near 1 if
# few take all places. `novelty`: bits, more for items that fewer know. `diversity`: how unlike the texts of one
# list are. `cold_share`: share of the list that nobody touched before.

# %%
shown = at_n.filter(pl.col("metric").is_in(["novelty", "diversity", "cold_share"]))
shown = shown.pivot("metric", index="model", values="mean")
run.catalogue.join(shown, on="model", maintain_order="left").to_pandas().set_index("model").round(3)

# %%
churn = run.measured["churn"]
if churn:
    print(f"new against run {churn['run']}: {format_mean(churn, '.1%')} of a list's first {n}")
else:
    print("no earlier run of this config to compare the lists with")

# %% [markdown]
# ## Answer

# %%
print(
    f"{metric}@{n}: ours is {describe_verdict(best)} the best rival ({rival}): {format_difference(best)}, where ours has "
    f"{format_mean(select_row(table, model=OURS))} and {rival} {format_mean(best)}.\n"
    f"For whom: {describe_segments(run.segments, metric, OURS, rival)}."
)

# %% [markdown]
# # Is our ranking better than its baselines, by how much, and for whom?
#
# Reads the results of one training. Read-only. Run `make recommend` first, or set `config_path` to your own config.

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
    count_outcomes,
    describe_gain,
    describe_losses,
    describe_segments,
    find_best_baseline,
    format_mean,
)
from recsys.plots import (
    plot_curves,
    plot_importance,
    plot_ledger,
    plot_matrix,
    plot_metric_table,
    plot_outcomes,
    plot_segments,
)

pd.set_option("display.html.use_mathjax", False, "display.max_colwidth", 120)  # titles may contain dollar signs
run = recsys.open_run(config_path, run=run_name)
evaluation = run.config.evaluation
metric, n = evaluation.metric, evaluation.n
at_n = run.metrics.filter(pl.col("n") == n)
best = find_best_baseline(run.metrics, metric, n)
rival = best["model"]

# %% [markdown]
# ## Answer

# %%
print(f"Ours is {describe_gain(run.metrics, best, evaluation.confidence)}.")
print(f"For whom: {describe_segments(run.segments, metric, OURS, rival)}.")
print(f"Lost: {'; '.join(describe_losses(run.measured)[:2])}.")
print(f"Run {run.name}, test window {run.facts['test_start'] or '-'} to {run.facts['test_end'] or '-'}")

# %% [markdown]
# ## All models on the same users
#
# One row per model, measured on the same users with the same exclusions. A positive that no source proposes counts as
# a miss. `difference` is ours minus that model, paired by user, with its interval. `p_value` is the probability of a
# difference at least this large by chance.

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
# Ours minus the best baseline, by segment of users, items and events. Pale rows have too few users to conclude
# anything. With twenty segments, expect about one interval to exclude 0 by chance.

# %%
plot_segments(run.segments, metric, n, OURS, rival)

# %% [markdown]
# ## Where were the other positives lost?
#
# Every positive has one outcome. It could not be recommended yet; no source proposed it or the candidate limit cut it
# (lost in retrieval); the ranker placed it below n (lost in ranking); or it was listed.

# %%
print("\n".join(describe_losses(run.measured)))
plot_ledger(run.measured, run.depths)

# %% [markdown]
# For each source: the positives it proposed, what the union would lose without it, and its share of our lists. The
# matrix shows, for the positives that the row's source proposed, the share that the column's source proposed too.

# %%
run.ledger.to_pandas().round(3)

# %%
shares = run.overlap.pivot("other", index="source", values="found_share").select("source", *run.ledger["source"])
sources = shares["source"].to_list()
also_proposed = shares.drop("source").to_numpy().astype(float)
plot_matrix(sources, sources, also_proposed, ("proposed by", "also proposed by"), ".0%")

# %%
labels = (run.segments["dimension"] + ": " + run.segments["segment"]).unique(maintain_order=True)
plot_outcomes(count_outcomes(run.positives, labels.to_list()))

# %% [markdown]
# ## Feature importance

# %%
plot_importance(run.importance)

# %%
plot_curves({"ranker_validation_ndcg": run.curves["ranker_validation_ndcg"]})

# %% [markdown]
# ## Corrected for popularity
#
# Users can only choose what they see, and popular items are shown more. `recall_ips` gives a positive less weight the
# more users its item has, so models that rely on popular items score lower here.

# %%
both = at_n.filter(pl.col("metric").is_in(["recall", "recall_ips"])).pivot("metric", index="model", values="mean")
both.sort("recall_ips", descending=True).to_pandas().set_index("model").round(4)

# %%
plot_metric_table(run.metrics, "recall_ips", n, OURS)

# %% [markdown]
# ## Beyond accuracy
#
# `coverage`: share of the catalogue in at least one list. `gini`: 0 if all items are shown equally often, near 1 if a
# few items fill the lists. `novelty`: in bits; higher for items with fewer users. `diversity`: mean text distance
# within a list. `cold_share`: share of the list without earlier events.

# %%
shown = at_n.filter(pl.col("metric").is_in(["novelty", "diversity", "cold_share"]))
shown = shown.pivot("metric", index="model", values="mean")
run.catalogue.join(shown, on="model", maintain_order="left").to_pandas().set_index("model").round(3)

# %%
churn = run.measured["churn"]
if churn:
    print(f"items not in the lists of run {churn['run']}: {format_mean(churn, '.1%')} of the first {n}")
else:
    print("no earlier run of this config to compare with")

# %% [markdown]
# # Why did the challenger lose (or win)?
#
# Reads two versions of the registry by alias and compares them as the gate does: on the same users, in the
# first one's test window. Nothing is changed. To have a challenger, change a setting in a copy of the config and
# run `recsys train` with it. The outputs kept here are of one that was trained without the sources that read
# texts: `tfidf`, `text` and `new_items` were taken from `candidates.depths`.

# %% tags=["parameters"]
import os
import warnings
from pathlib import Path

config_path = Path(os.environ.get("RECSYS_CONFIG", "../configs/demo.yaml"))
first, second = "challenger", "champion"
_ = os.environ.setdefault("RECSYS_HOME", str(Path("../data/home").resolve()))
warnings.filterwarnings("ignore", message="IProgress not found")  # other libraries' progress bars; none is shown here

# %% [markdown]
# ## Six lines
#
# All that a person types to find out why a challenger lost.

# %%
from recsys.config import home, load_config
from recsys.pipelines.compare import compare_versions

why = compare_versions(load_config(config_path), home(), first, second)
print("\n".join(why.describe()))
print(why.settings)
print(why.outcomes)

# %% [markdown]
# The rest of this page shows the same in more detail.

# %%
# %matplotlib inline
import pandas as pd
import polars as pl

from recsys.artifacts.snapshots import read_snapshot
from recsys.evaluation.candidate_ledger import OUTCOMES
from recsys.visuals.plots import plot_matrix, plot_metric_table, plot_segments

pd.set_option("display.html.use_mathjax", False, "display.max_colwidth", 120)  # dollar signs in titles are no formulas
config = load_config(config_path)
metric, n = why.metric, why.n
print(f"{why.names[0]} against {why.names[1]}")

# %% [markdown]
# ## What was changed

# %%
why.settings.to_pandas()

# %% [markdown]
# ## By how much

# %%
why.metrics.filter(pl.col("n") == n, pl.col("model") == second).drop("model", "n").to_pandas().round(4)

# %%
plot_metric_table(why.metrics, metric, n, first)

# %% [markdown]
# ## For whom

# %%
plot_segments(why.segments, metric, n, first, second)

# %% [markdown]
# ## Where the positives went
#
# Rows: what became of a positive in the first version; columns: in the second. On the diagonal nothing changed.

# %%
counts = why.outcomes.select(OUTCOMES).to_numpy().astype(float)
plot_matrix(OUTCOMES, OUTCOMES, counts, (first, second), ",.0f")

# %% [markdown]
# ## What was lost, by name
#
# Positives that the second listed and the first did not, those that stood highest on top, and the sources that
# the second had them from.

# %%
items = read_snapshot(home(), config.name, config.dataset.model_dump(mode="json")).items
lost = why.lost.join(items.select("item_id", "title"), on="item_id", how="left", maintain_order="left")
columns = ["user_id", "title", "outcome", "rank", "sources", f"{second}_rank", f"{second}_sources"]
lost.sort(f"{second}_rank", "user_id").select(columns).head(10).to_pandas()

# %%
by_sources = lost.group_by("outcome", pl.col(f"{second}_sources").list.join(", ").alias(f"{second} had it from"))
by_sources.len("positives").sort("positives", descending=True).head(10).to_pandas()

# %% [markdown]
# ## Answer

# %%
print("\n".join(why.describe()))

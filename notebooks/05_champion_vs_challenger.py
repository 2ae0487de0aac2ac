# %% [markdown]
# # Why did the challenger lose (or win)?
#
# Compares two registered versions as the gate does: on the same users, in the test window of the first version.
# Read-only. To get a challenger, change a setting in a copy of the config and run `recsys train` with it. The committed
# outputs are of a challenger without the sources `tfidf`, `text` and `new_items`; its config is the demo's with
# `candidates: {depths: {als: 100, item_to_item: 100, transitions: 100, ease: 100, popular: 100, popular_all_time: 50}}`.

# %% tags=["parameters"]
import os
import warnings
from pathlib import Path

config_path = Path(os.environ.get("RECSYS_CONFIG", "../configs/demo.yaml"))
first, second = "challenger", "champion"
_ = os.environ.setdefault("RECSYS_HOME", str(Path("../data/home").resolve()))
warnings.filterwarnings("ignore", message="IProgress not found")  # progress bars of other libraries

# %%
# %matplotlib inline
import pandas as pd
import polars as pl

import recsys
from recsys.analysis import OUTCOMES
from recsys.plots import plot_matrix, plot_metric_table, plot_segments

pd.set_option("display.html.use_mathjax", False, "display.max_colwidth", 120)  # titles may contain dollar signs
why = recsys.compare(config_path, first=first, second=second)
metric, n = why.metric, why.n

# %% [markdown]
# ## Answer

# %%
print("\n".join(why.describe()))

# %% [markdown]
# ## Settings that differ

# %%
why.settings.to_pandas()

# %% [markdown]
# ## The difference

# %%
why.metrics.filter(pl.col("n") == n, pl.col("model") == second).drop("model", "n").to_pandas().round(4)

# %%
plot_metric_table(why.metrics, metric, n, first)

# %% [markdown]
# ## For whom

# %%
plot_segments(why.segments, metric, n, first, second)

# %% [markdown]
# ## Outcomes of the positives
#
# Rows: the outcome of a positive in the first version; columns: in the second. On the diagonal the outcome is the same.

# %%
counts = why.outcomes.select(OUTCOMES).to_numpy().astype(float)
plot_matrix(OUTCOMES, OUTCOMES, counts, (first, second), ",.0f")

# %% [markdown]
# ## Lost positives, by title
#
# Positives that the second version listed and the first did not, by their rank in the second, with the sources that
# proposed them there.

# %%
items = recsys.open_snapshot(config_path).items
lost = why.lost.join(items.select("item_id", "title"), on="item_id", how="left", maintain_order="left")
columns = ["user_id", "title", "outcome", "rank", "sources", f"{second}_rank", f"{second}_sources"]
lost.sort(f"{second}_rank", "user_id").select(columns).head(10).to_pandas()

# %%
by_sources = lost.group_by("outcome", pl.col(f"{second}_sources").list.join(", ").alias(f"sources of {second}"))
by_sources.len("positives").sort("positives", descending=True).head(10).to_pandas()

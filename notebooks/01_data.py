# %% [markdown]
# # What do the users do, and can it carry a recommender?
#
# Reads the snapshot that `recsys ingest` wrote last. Nothing is trained and nothing is changed, so this comes
# before the first training. Start with `make recommend`, or point `config_path` at your own config.

# %% tags=["parameters"]
import os
from pathlib import Path

config_path = Path(os.environ.get("RECSYS_CONFIG", "../configs/demo.yaml"))
run_date = None  # only events before 00:00 UTC of this day, such as "2025-02-03"; None: all of them
_ = os.environ.setdefault("RECSYS_HOME", str(Path("../data/home").resolve()))

# %%
# %matplotlib inline
import numpy as np
import pandas as pd
import polars as pl

from recsys.artifacts.snapshots import read_snapshot
from recsys.config import home, load_config
from recsys.dataset.histories import build_histories, find_recommendable
from recsys.dataset.windows import resolve_end
from recsys.evaluation.summaries import format_mean
from recsys.visuals.data_plots import plot_activity, plot_lengths, plot_long_tail, plot_timeline
from recsys.evaluation.intervals import mean_interval
from recsys.visuals.plots import plot_message
from recsys.training.splitting import split_snapshot
from recsys.text.item_text import make_texts

pd.set_option("display.html.use_mathjax", False, "display.max_colwidth", 120)  # dollar signs in titles are no formulas
config = load_config(config_path)
snapshot = read_snapshot(home(), config.name, config.dataset.model_dump(mode="json"))
items, end = snapshot.items, resolve_end(snapshot.interactions, run_date)
windows = split_snapshot(config, snapshot, end)
test, events = windows.test, windows.everything

# %% [markdown]
# ## What there is

# %%
pairs = events.select("user_id", "item_id").n_unique()
users, touched = events["user_id"].n_unique(), events["item_id"].n_unique()
facts = {
    "snapshot": snapshot.id,
    "events": f"{events.height:,}, from {str(events['time'].min())[:16]} to {str(events['time'].max())[:16]}",
    "users": f"{users:,}",
    "items": f"{items.height:,}, of which {items['available'].sum():,} available and {touched:,} touched by anyone",
    "user-item pairs": f"{pairs:,}: {pairs / (users * items.height):.2%} of all there could be",
    "events that lists should predict": f"{events['positive'].mean():.1%}",
}
pd.DataFrame({"": facts})

# %% [markdown]
# ## What ingest set aside
#
# Every rejected row is kept with the rule it broke; too many of them stop the run.

# %%
rejected = pl.read_parquet(home() / "snapshots" / snapshot.id / "rejected.parquet")
rules = rejected.group_by("table", "rule").len("rows").sort(["table", "rows"], descending=[False, True])
print(f"{rejected.height:,} rows were set aside" + ("" if rejected.height else ": every row kept its rules"))
rules.to_pandas()

# %% [markdown]
# ## When it happens, and how time is cut
#
# The measured run fits on what came first, teaches the ranker on the label windows and is tested on the newest
# window. What serves is fitted once more with all windows moved to the end.

# %%
spans = [(window.name, window.cutoff, window.end) for window in windows.windows]
timed = test.cutoff is not None and events["time"].null_count() == 0
plot_timeline(events, spans) if timed else plot_message(f"protocol {config.windows.protocol}: windows without a common clock")

# %% [markdown]
# ## How much each user tells us
#
# As of the test window's start: what a recommender would know of each user on that day.

# %%
histories = build_histories(test.history, items, test.cutoff)
segments = config.evaluation.segments
plot_activity(histories.lengths, segments.new_user_items, segments.heavy_user_items)

# %% [markdown]
# ## How long the tail is

# %%
item_users = np.bincount(histories.items, minlength=histories.n_items)
plot_long_tail(item_users)

# %% [markdown]
# ## What the texts say
#
# The encoder reads the fields that the config names, one after the other. How many it cuts is in
# `02_text_encoder`.

# %%
characters = make_texts(items, config.text.fields).str.len_chars()
plot_lengths(characters.to_numpy().astype(np.int64), "characters")

# %%
there = {one: (make_texts(items, [one]).str.len_chars() > 0).mean() for one in config.text.fields}
pd.DataFrame({"share of items that have it": there}).round(3)

# %% [markdown]
# ## What the test window asks for
#
# A recommender can only be right about what users take next. Nobody can say a thing about a user without a
# history but what is popular; and of an item that nobody touched before, collaborative filtering knows nothing:
# only its text speaks.

# %%
known = find_recommendable(items, test.cutoff)
about_items = pl.DataFrame({"item_id": histories.item_ids, "users": item_users, "recommendable": known})
about_users = pl.DataFrame({"user_id": histories.user_ids, "items": histories.lengths})
asked = test.positives.join(about_items, on="item_id").join(about_users, on="user_id", how="left")
asked = asked.with_columns(cold=pl.col("users") <= segments.cold_item_users, stranger=pl.col("items").is_null())
groups = asked.group_by("stranger", "cold", "recommendable")
groups = groups.agg(positives=pl.len(), users=pl.col("user_id").n_unique()).sort("positives", descending=True)
groups.to_pandas()

# %% [markdown]
# ## Answer

# %%
def tell(values: pl.Series, form: str = ".1%") -> str:
    """A mean over users with its interval."""
    sure = config.evaluation
    found = mean_interval(values.cast(pl.Float64).to_numpy(), sure.bootstrap_samples, sure.confidence, config.seed)
    return format_mean(vars(found), form)


late, cold = ~pl.col("recommendable"), pl.col("recommendable") & pl.col("cold")
shares = {"late": late.mean(), "cold": cold.mean(), "warm": 1 - (late | cold).mean()}
everyone = asked.group_by("user_id").agg(pl.len(), pl.col("stranger").first(), **shares).sort("user_id")
measured = everyone.filter(~pl.col("stranger"))
head = np.sort(item_users)[::-1][: max(1, round(0.1 * len(item_users)))].sum() / max(1, item_users.sum())
least = 10 * segments.min_users
print(
    f"{everyone.height:,} users take something in the test window, {tell(everyone['len'], '.2f')} items each; "
    f"{tell(everyone['stranger'])} of them have no history and can only be shown what is popular.\n"
    f"Of what each of the other {measured.height:,} takes, {tell(measured['warm'])} was touched before, so "
    f"collaborative filtering has something to go by; {tell(measured['cold'])} is cold, and only text can find it; "
    f"{tell(measured['late'])} was not there to be shown when the lists were made.\n"
    f"The median user has {int(np.median(histories.lengths))} items; the most popular tenth of the items holds "
    f"{head:.0%} of the touches, so popularity alone is {'a strong' if head > 0.5 else 'no strong'} answer.\n"
    + (
        f"It can carry a recommender: {measured.height:,} users can be measured, enough for segments of a tenth."
        if measured.height >= least
        else f"It cannot carry much: {measured.height:,} users can be measured, and below {least:,} a segment of a "
        "tenth says nothing; make the test window longer or gather more."
    )
)

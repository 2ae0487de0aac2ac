# %% [markdown]
# # What does the encoder understand, and did fine-tuning help?
#
# Compares the encoder of a registered version with the pretrained checkpoint. It is the encoder of the evaluation model,
# which has not seen the test window: fine-tuned, or the checkpoint as it is where fine-tuning predicted no better.
# Read-only.

# %% tags=["parameters"]
import os
import warnings
from pathlib import Path

config_path = Path(os.environ.get("RECSYS_CONFIG", "../configs/demo.yaml"))
alias = "champion"  # or "challenger": the version that the last training registered, until it is promoted
_ = os.environ.setdefault("RECSYS_HOME", str(Path("../data/home").resolve()))
warnings.filterwarnings("ignore", message="IProgress not found")  # progress bars of other libraries

# %%
# %matplotlib inline
import numpy as np
import pandas as pd
import polars as pl

import recsys
from recsys.analysis import (
    describe_neighbours,
    describe_text_steps,
    find_nearest,
    make_texts,
    project_to_plane,
    summarise,
)
from recsys.plots import plot_curves, plot_lengths, plot_maps, plot_metric_table

pd.set_option("display.html.use_mathjax", False, "display.max_colwidth", 120)  # titles may contain dollar signs
config = recsys.load_config(config_path)
run = recsys.open_run(config, alias=alias)
bundle = recsys.open_bundle(config, alias=alias, evaluation_model=True)
items, evaluation = bundle.items, config.evaluation
texts = make_texts(items, bundle.config.text.fields)
tuned = bundle.embeddings
pretrained = recsys.open_pretrained(bundle.config)
zero_shot = pretrained.encode(texts.to_list())
# For each item, the share of its ten nearest items in the same category.
column = next(iter([*evaluation.segments.item_columns, *config.dataset.items.attributes]), "tags")
labels = items[column].list.first().fill_null("") if items.schema[column] == pl.List else items[column].fill_null("")
sample = np.random.default_rng(config.seed).permutation(np.flatnonzero((labels != "").to_numpy()))[:2000]
k = min(10, items.height - 1)
category = labels.to_numpy()
agreement = {
    name: (category[find_nearest(vectors, sample, k)] == category[sample][:, None]).mean(axis=1)
    for name, vectors in (("before", zero_shot), ("after", tuned))
}
chance = float((pd.Series(category[sample]).value_counts(normalize=True) ** 2).sum())

# %% [markdown]
# ## Answer

# %%
print(f"{alias}: run {run.name}, checkpoint {bundle.config.text.checkpoint}")
if chosen := run.measured.get("encoder"):
    print(chosen)
print("\n".join(describe_text_steps(run.user_metrics, evaluation, config.seed)))
if "text_fine_tuned" in set(run.metrics["model"]):
    print(describe_neighbours(agreement["after"], agreement["before"], chance, column, evaluation, config.seed))
else:
    print("The checkpoint serves as it is, so items are as close together after the training as before.")

# %% [markdown]
# ## Truncated texts

# %%
limit = bundle.encoder.max_tokens
longer = recsys.open_pretrained(bundle.config, max_tokens=512)
tokens = np.array([len(text) for text in longer.tokenize(texts.to_list())])
print(f"{(tokens > limit).mean():.1%} of the texts are longer than {limit} tokens and are truncated")
plot_lengths(tokens, "tokens", limit)

# %% [markdown]
# ## Training loss
#
# Fine-tuning moves items that the same users chose closer together. The interest model then learns which items follow
# a history.

# %%
losses = {name: run.curves[name] for name in ("fine_tuning_loss", "interest_loss")}
plot_curves(losses, run.measured.get("curve_parts"))

# %% [markdown]
# ## Lists from text alone, before and after fine-tuning
#
# For the users of the test window. `text_zero_shot` uses the pretrained checkpoint, `text_fine_tuned` the fine-tuned
# encoder (left out where the checkpoint serves as it is), and `text` adds the interest model. The differences of the
# table are those of `text` minus the other model.

# %%
ladder = [model for model in ("text_zero_shot", "text_fine_tuned", "text") if model in run.metrics["model"]]
alone = run.user_metrics.filter(pl.col("model").is_in(ladder))
table = summarise(alone, "text", evaluation, config.seed)
plot_metric_table(table, evaluation.metric, evaluation.n, "text")

# %%
names = ("recall", "ndcg", "mrr", "hit_rate", "cold_share")
table.filter(pl.col("n") == evaluation.n, pl.col("metric").is_in(names)).sort("metric").to_pandas().round(4)

# %% [markdown]
# ## Nearest items
#
# For the most popular item of some categories: the three items with the nearest texts, before and after fine-tuning.

# %%
known = pl.DataFrame({"label": labels, "users": bundle.statistics.users}).with_row_index("row")
known = known.sort("users", descending=True, maintain_order=True).unique("label", keep="first", maintain_order=True)
shown = known["row"].head(5).to_numpy().astype(np.int64)
before, after = (find_nearest(vectors, shown, 3) for vectors in (zero_shot, tuned))
titles = items["title"].to_numpy()
rows = {column: labels.to_numpy()[shown].repeat(3), "item": titles[shown].repeat(3)}
pd.DataFrame({**rows, "before": titles[before].ravel(), "after": titles[after].ravel()}).set_index([column, "item"])

# %% [markdown]
# Are items of one category close together? For each item, the share of its ten nearest items in the same category,
# compared with the share expected by chance.

# %%
shares = {name: values.mean() for name, values in agreement.items()} | {"chance": chance}
pd.DataFrame({f"same {column}": shares}).round(3)

# %% [markdown]
# ## Map of the items
#
# Every item on the first two principal components of the embeddings. Items that are far apart here are far apart;
# items that are close together here need not be close in all dimensions.

# %%
maps = {"pretrained": project_to_plane(zero_shot), "fine-tuned": project_to_plane(tuned)}
plot_maps(maps, labels.to_list())

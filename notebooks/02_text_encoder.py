# %% [markdown]
# # What does the encoder understand, and did fine-tuning help?
#
# Opens a version of the registry: the encoder that was measured, which has seen nothing of the test window,
# beside the checkpoint as it came.

# %% tags=["parameters"]
import os
import warnings
from pathlib import Path

config_path = Path(os.environ.get("RECSYS_CONFIG", "../configs/demo.yaml"))
alias = "challenger"  # the version that the last training registered
_ = os.environ.setdefault("RECSYS_HOME", str(Path("../data/home").resolve()))
warnings.filterwarnings("ignore", message="IProgress not found")  # other libraries' progress bars; none is shown here

# %%
# %matplotlib inline
import numpy as np
import pandas as pd
import polars as pl

from recsys.config import home, load_config
from recsys.evaluation.summaries import find_row, judge, tell_difference, tell_mean
from recsys.evaluation.comparison import summarise
from recsys.visuals.data_plots import plot_lengths
from recsys.evaluation.intervals import compare_paired
from recsys.visuals.plots import plot_curves, plot_maps, plot_metric_table
from recsys.evaluation.embedding_neighbors import find_nearest, project_to_plane
from recsys.pipelines.compare import load_bundle, read_logged_run
from recsys.registry.tracking import connect
from recsys.registry.versions import EVALUATION_MODEL, need_version
from recsys.text.encoder import Encoder
from recsys.text.item_text import make_texts

pd.set_option("display.html.use_mathjax", False, "display.max_colwidth", 120)  # dollar signs in titles are no formulas
config = load_config(config_path)
store = connect(home(), config)
version = need_version(store, config.model_name, alias, "run 'recsys train' first")
run, bundle = read_logged_run(store, version), load_bundle(store, version, EVALUATION_MODEL)
items, evaluation = bundle.items, config.evaluation
texts = make_texts(items, bundle.config.text.fields)
tuned = bundle.embeddings
zero_shot = Encoder(bundle.config.text.checkpoint, bundle.config.text).encode(texts.to_list())
print(f"version {version.number}, run {run.name}, checkpoint {bundle.config.text.checkpoint}")

# %% [markdown]
# ## What it reads

# %%
limit = bundle.encoder.max_tokens
longer = Encoder(bundle.config.text.checkpoint, bundle.config.text.model_copy(update={"max_tokens": 512}))
tokens = np.array([len(one) for one in longer.tokenize(texts.to_list())])
print(f"{(tokens > limit).mean():.1%} of the texts are longer than {limit} tokens; the rest of them is not read")
plot_lengths(tokens, "tokens", limit)

# %% [markdown]
# ## How it learned
#
# Fine-tuning teaches the last layers that items of the same users belong together; the interest model then
# learns what a history asks for.

# %%
plot_curves({name: run.curves[name] for name in ("fine_tuning_loss", "interest_loss")})

# %% [markdown]
# ## Text alone, before and after
#
# Lists made from text alone, for the users of the test window. `text_zero_shot` is the checkpoint as it came:
# nothing was learned. `text_fine_tuned` is the same after fine-tuning; `text` has the interest model on top. The
# differences are paired by user.

# %%
ladder = [model for model in ("text_zero_shot", "text_fine_tuned", "text") if model in run.metrics["model"]]
alone = run.user_metrics.filter(pl.col("model").is_in(ladder))
table = summarise(alone, "text", evaluation, config.seed)
plot_metric_table(table, evaluation.metric, evaluation.n, "text")

# %%
names = ("recall", "ndcg", "mrr", "hit_rate", "cold_share")
table.filter(pl.col("n") == evaluation.n, pl.col("metric").is_in(names)).sort("metric").to_pandas().round(4)

# %% [markdown]
# ## What lies near what
#
# The three items whose texts lie nearest, for the best known item of some kinds: by the checkpoint as it came,
# and after fine-tuning.

# %%
column = next(iter([*evaluation.segments.item_columns, *config.dataset.items.attributes]), "tags")
labels = items[column].list.first().fill_null("") if items.schema[column] == pl.List else items[column].fill_null("")
known = pl.DataFrame({"label": labels, "users": bundle.statistics.users}).with_row_index("place")
known = known.sort("users", descending=True, maintain_order=True).unique("label", keep="first", maintain_order=True)
shown = known["place"].head(5).to_numpy().astype(np.int64)
before, after = (find_nearest(vectors, shown, 3) for vectors in (zero_shot, tuned))
titles = items["title"].to_numpy()
asked = {column: labels.to_numpy()[shown].repeat(3), "item": titles[shown].repeat(3)}
pd.DataFrame({**asked, "before": titles[before].ravel(), "after": titles[after].ravel()}).set_index([column, "item"])

# %% [markdown]
# Do items of one kind lie together? The share of the ten nearest items that are of the same kind, over items,
# beside what chance alone would give.

# %%
drawn = np.random.default_rng(config.seed).permutation(np.flatnonzero((labels != "").to_numpy()))[:2000]
k = min(10, items.height - 1)
kind = labels.to_numpy()
agreeing = {
    name: (kind[find_nearest(vectors, drawn, k)] == kind[drawn][:, None]).mean(axis=1)
    for name, vectors in (("before", zero_shot), ("after", tuned))
}
chance = float((pd.Series(kind[drawn]).value_counts(normalize=True) ** 2).sum())
samples, confidence = evaluation.bootstrap_samples, evaluation.confidence
moved = compare_paired(agreeing["after"], agreeing["before"], samples, confidence, config.seed)
same = {name: values.mean() for name, values in agreeing.items()} | {"chance": chance}
pd.DataFrame({f"same {column}": same}).round(3)

# %% [markdown]
# ## The map
#
# Every item on the two axes that spread the embeddings most. Two axes of hundreds: what lies apart here is
# apart, what lies together need not be near.

# %%
maps = {"checkpoint as it came": project_to_plane(zero_shot), "fine-tuned": project_to_plane(tuned)}
plot_maps(maps, labels.to_list())

# %% [markdown]
# ## Answer

# %%
row = find_row(table, model="text_zero_shot", metric=evaluation.metric, n=evaluation.n)
closer = "nearer together" if moved.low > 0 else "farther apart" if moved.high < 0 else "neither nearer nor farther"
print(
    f"Lists from text alone: text, which has learned (fine-tuning and interest model together), is {judge(row)} the "
    f"checkpoint as it came: {evaluation.metric}@{evaluation.n} {tell_difference(row)} over {tell_mean(row)}.\n"
    f"Neighbours: of an item's {k} nearest {agreeing['after'].mean():.1%} share its {column} after fine-tuning and "
    f"{agreeing['before'].mean():.1%} before ({chance:.1%} by chance): fine-tuning moved that by {moved.mean:+.1%} "
    f"[{moved.low:+.1%}, {moved.high:+.1%}], items of one {column} stand {closer}."
)

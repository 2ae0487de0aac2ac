"""What the pages of MLflow say, in Markdown: whether a model is better, than what, and how to load it.

Names of models, segments and items come from users' data and plug-ins, and the reason of a failure may quote a raw
file. They are escaped, so that none of them is read as markup, a link or HTML.
"""

from __future__ import annotations

import re
from urllib.parse import quote

import polars as pl

from recsys.artifacts.runs import Run
from recsys.evaluation.candidate_ledger import describe_losses
from recsys.evaluation.comparison import DIFFERENCE, MEAN, OURS
from recsys.evaluation.formatting import format_interval
from recsys.evaluation.summaries import describe_gain, describe_segments, find_best_baseline

# Characters that showdown, which draws MLflow's pages, takes behind a backslash; an underscore inside a word is plain.
_SPECIAL = re.compile(r"[\\`*{}\[\]()#+.!|~=\-]|(?<![^\W_])_|_(?![^\W_])")
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", ":": "&#58;", "@": "&#64;", "^": "&#94;", "$": "&#36;"}
# MLflow keeps the text of a description in one field of a database.
_LONGEST = 4800
# Escaping makes a text up to five times longer. The tag `failure` has more of it.
_LONGEST_REASON = 1000
_MODELS = 30
# Without it, MLflow opens a page of a run with the menu of another kind of experiment.
_TRAINING = "?workflowType=machine_learning"
# Stands for a name in a sentence that is otherwise ours, so that only the name is escaped.
_PLACE = "\0"


def escape_markdown(text: str) -> str:
    """Return a text on one line that Markdown and HTML show as it is."""
    line = " ".join(text.split())
    escaped = _SPECIAL.sub(lambda found: "\\" + found[0], line)
    return "".join(_HTML.get(character, character) for character in escaped)


def describe_experiment(name: str) -> str:
    """Return the description of the experiment of a config's trainings."""
    return (
        f"Trainings of **{escape_markdown(name)}**, one run each. The nested runs are baselines, measured on the same "
        "users. Runs named *tune* are searches over settings, with a nested run for each trial.\n\n"
        "| metrics | meaning |\n|---|---|\n"
        "| `ndcg_at_10` and others without a group | accuracy of the lists on the test window, mean over users |\n"
        "| `ci/…` | ends of their confidence intervals |\n"
        "| `vs_blend/…` | ours minus the blend, the strongest simple baseline, paired by user |\n"
        "| `ours_minus_this/…` | the same for the baseline of a nested run |\n"
        "| `lost/…` | loss due to retrieval, ranking and rules |\n"
        "| `cold/…` | items without earlier events: recall, and their share of the lists |\n"
        "| `lists/…`, `candidates/…`, `cost/…`, `ranker/…` | coverage, novelty, union recall, time, size |\n"
        "| `training/…` | training loss and validation recall by step |\n"
        "| `system/…` | load of the machine |\n\n"
        "To compare trainings, select runs without a parent and plot `vs_blend/ndcg_at_10`. The tag "
        "`failure` of a failed run has the reason. `recsys evaluate`, `recsys report` and the notebooks have more "
        "detail."
    )


def describe_nights(name: str) -> str:
    """Return the description of the experiment of a config's monitored nights."""
    return (
        f"Monitored nights of **{escape_markdown(name)}**, one run each, named by run date. Metrics are the figures of "
        "`recsys monitor`, in a group for each area; the groups `low` and `high` are their normal ranges. The tag "
        "`verdict` is the verdict of the night, and `causes` lists the causes of its alerts."
    )


def describe_model(name: str) -> str:
    """Return the description of the registered model."""
    return (
        f"Recommends items of **{escape_markdown(name)}**: a fine-tuned BERT encoder, collaborative filtering and a "
        "LightGBM ranker in one bundle. Each version is a refit on all data; the page of its run has the "
        "metrics of its evaluation model.\n\n"
        "| alias | version |\n|---|---|\n"
        "| `champion` | the serving version |\n"
        "| `challenger` | the newest training, until it is promoted or rolled back |\n"
        "| `anchor` | the best champion so far |\n\n"
        "`recsys promote` and `recsys rollback` move the aliases and log the reason (`recsys history`). Do not move "
        "`champion` by hand.\n\n" + _explain_loading(name, "@champion")
    )


def describe_run(run: Run, version: str, run_id: str, experiment: str) -> str:
    """Return the description of the run of a finished training.

    Args:
        run: what it measured.
        version: number of the version that it registered.
        run_id: of the MLflow run.
        experiment: id of the experiment.
    """
    model, window = run.config.model_name, _describe_window(run)
    registered = f"[{escape_markdown(model)} version {version}](#/models/{quote(model, safe='')}/versions/{version})"
    files = f"#/experiments/{experiment}/runs/{run_id}/artifacts{_TRAINING}"
    parts = [
        _describe_verdict(run),
        _list_models(run),
        f"{window} Registered as {registered}.",
        *_describe_details(run),
        f"[Files of the run]({files}): `config.yaml` has every setting, `run` the tables and plots, and "
        f"`{run.name}.html` the report, once `recsys report` has made it. Metrics are defined in "
        "`docs/reference/metrics.md`, "
        "the gate in `docs/explanation/gate.md`.",
        _explain_loading(model, f"/{version}"),
    ]
    return _join(parts)


def describe_baseline(model: str) -> str:
    """Return the description of the nested run of a baseline."""
    return (
        f"The baseline **{escape_markdown(model)}**, measured on the same users as our lists in the parent run. "
        "`ours_minus_this/…` is ours minus this baseline, paired by user."
    )


def describe_version(run: Run, version: str, run_id: str, experiment: str) -> str:
    """Return the description of a registered version; see `describe_run` for the arguments."""
    page = f"#/experiments/{experiment}/runs/{run_id}{_TRAINING}"
    parts = [
        _describe_verdict(run),
        _describe_window(run),
        *(f"**The refit differs** from the evaluation model that was measured: {text}." for text in _list_refit(run)),
        f"[Run {escape_markdown(run.name)}]({page}) has the table of models, the settings and the files.",
        _explain_loading(run.config.model_name, f"/{version}"),
    ]
    return _join(parts)


def describe_failure(status: str, reason: str) -> str:
    """Return the description of a run that failed or was stopped."""
    return f"**{status.capitalize()}:** {escape_markdown(reason[:_LONGEST_REASON])}"


def _describe_verdict(run: Run) -> str:
    evaluation = run.config.evaluation
    best = find_best_baseline(run.metrics, evaluation.metric, evaluation.n)
    if best is None:
        return "Measured without baselines, so there is no comparison."
    name = escape_markdown(best["model"])
    sentence = describe_gain(run.metrics, best | {"model": _PLACE}, evaluation.confidence)
    verdict, _, numbers = sentence.partition(f"{_PLACE}: ")
    return f"**{verdict}{name}:** {numbers}"


def _list_models(run: Run) -> str:
    evaluation = run.config.evaluation
    rows = run.metrics.filter(pl.col("metric") == evaluation.metric, pl.col("n") == evaluation.n)
    rows = rows.sort("mean", descending=True, maintain_order=True)
    lines = [f"| model | {evaluation.metric}@{evaluation.n} | ours ahead by |", "|---|---|---|"]
    for row in rows.head(_MODELS).iter_rows(named=True):
        name = escape_markdown(row["model"])
        ahead = "" if row["difference"] is None else format_interval(row, DIFFERENCE, "+.3f")
        shown = f"**{name}**" if row["model"] == OURS else name
        lines.append(f"| {shown} | {format_interval(row, MEAN, '.3f')} | {ahead} |")
    return "\n".join(lines) if rows.height else ""


def _describe_window(run: Run) -> str:
    facts = run.facts
    if facts.get("test_start") and facts.get("test_end"):
        return f"Measured on {str(facts['test_start'])[:10]} to {str(facts['test_end'])[:10]}."
    protocol = str(facts.get("protocol", run.config.windows.protocol)).replace("_", " ")
    return f"Measured with the split {escape_markdown(protocol)}."


def _describe_details(run: Run) -> list[str]:
    """Return for whom it is better, where positives were lost, and how the refit differs."""
    evaluation = run.config.evaluation
    best = find_best_baseline(run.metrics, evaluation.metric, evaluation.n)
    parts = []
    if best is not None and run.segments.height:
        whom = describe_segments(run.segments, evaluation.metric, OURS, best["model"])
        parts.append(f"**For whom:** {escape_markdown(whom)}.")
    if "losses" in run.measured:
        parts.append("**Lost:** " + escape_markdown("; ".join(describe_losses(run.measured))) + ".")
    parts += [f"**The refit differs** from what was measured: {text}." for text in _list_refit(run)]
    return parts


def _list_refit(run: Run) -> list[str]:
    differences = run.measured.get("refit_differences") or ()
    return [escape_markdown("; ".join(differences))] if differences else []


def _explain_loading(model: str, which: str) -> str:
    """Return how to load a version. In a block of code nothing is escaped, so a name that could end it is left out."""
    shown = model if re.fullmatch(r"[\w .-]+", model) else "NAME"
    return (
        "```python\nimport mlflow\n\n"
        f'model = mlflow.pyfunc.load_model("models:/{shown}{which}")\n'
        "# histories: columns user_id and item_id, oldest first\n"
        "lists = model.predict(histories)\n```"
    )


def _join(parts: list[str]) -> str:
    """Join paragraphs; those that no longer fit are left out from the end, but never how to load the model."""
    *texts, loading = [part for part in parts if part]
    while len(texts) > 1 and sum(map(len, [*texts, loading])) > _LONGEST:
        texts.pop()
    return "\n\n".join([*texts, loading])

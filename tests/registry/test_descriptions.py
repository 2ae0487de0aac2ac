"""What MLflow's pages say; names from data and plug-ins stay names."""

import html
import re
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from miniature import Trained

from recsys.artifacts.runs import Run, find_run, read_run
from recsys.registry.descriptions import (
    describe_experiment,
    describe_failure,
    describe_model,
    describe_run,
    describe_version,
    escape_markdown,
)

HOSTILE = (
    "<img src=x onerror=alert(1)> [a](javascript:b) ![c](//evil.example/d.png) `e` *f* _g_ | @bob www.evil.example"
)
# What showdown, which draws MLflow's pages, reads as the character behind the backslash.
_ESCAPED = re.compile(r"\\([\\`*_{}\[\]()#+.!~=|-])")


@pytest.fixture(scope="module")
def run(trained: Trained) -> Run:
    name = find_run(trained.home, trained.config.name)
    return read_run(trained.home, trained.config.name, name)


@pytest.mark.parametrize(
    "text", [HOSTILE, "item_to_item", "a\nb\n\n# c", "小说 <b>", "1. x\n- y", "a\\*b", "$x$ ^y^ &amp;"]
)
def test_escaped_texts_are_shown_as_they_are(text: str) -> None:
    escaped = escape_markdown(text)
    assert html.unescape(_ESCAPED.sub(r"\1", escaped)) == " ".join(text.split())
    bare = _ESCAPED.sub("", escaped)
    assert not re.search(r"[<>`*\[\]()|:@]|(?<!\w)_|_(?!\w)|www\.", bare)


def test_the_verdict_comes_first_and_has_numbers(run: Run) -> None:
    text = describe_run(run, "3", "abc", "1")
    assert re.match(r"\*\*(\d+% (better|worse) than|not distinguishable from) \w+:\*\*", text)
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + run.metrics["model"].n_unique()
    means = [float(line.split("|")[2].split()[0]) for line in rows[1:]]
    assert means == sorted(means, reverse=True)
    assert "](#/experiments/1/runs/abc/artifacts?workflowType=machine_learning)" in text
    assert "](#/models/recsys/versions/3)" in text
    assert text.count("```") == 2


def test_names_from_data_are_not_markup(run: Run) -> None:
    metrics = run.metrics.with_columns(pl.col("model").replace({"popular": HOSTILE}))
    segments = run.segments.with_columns(pl.col("segment").replace({"warm": HOSTILE}), enough=True)
    measured = run.measured | {"refit_differences": [HOSTILE]}
    hostile = replace(run, metrics=metrics, segments=segments, measured=measured)
    for text in (describe_run(hostile, "3", "abc", "1"), describe_version(hostile, "3", "abc", "1")):
        assert escape_markdown(HOSTILE) in text
        assert HOSTILE not in text
        bare = _ESCAPED.sub("", text)
        assert "<" not in bare
        assert not re.search(r"\]\((?!#/)", bare)
    assert HOSTILE not in describe_model(HOSTILE) + describe_experiment(HOSTILE)
    assert describe_failure("FAILED", HOSTILE) == f"**Failed:** {escape_markdown(HOSTILE)}"


def test_a_description_fits_whatever_the_number_of_names(run: Run) -> None:
    segments = run.segments.with_columns(pl.col("segment") + "*" * 2000, enough=True)
    text = describe_run(replace(run, segments=segments), "3", "abc", "1")
    assert len(text) < 5000
    assert text.endswith("```")
    assert len(describe_failure("FAILED", "<" * 10_000)) < 8000


def test_a_run_without_baselines(run: Run, tmp_path: Path) -> None:
    alone = replace(run, metrics=run.metrics.clear(), segments=run.segments.clear(), measured={})
    assert describe_run(alone, "1", "abc", "1").startswith("Measured without baselines")

"""The trade-off: which models no other beats."""

from dataclasses import replace
from pathlib import Path

import polars as pl

from recsys.artifacts.runs import read_run
from recsys.report.trade_off import gather_trade_off, show_trade_off


def test_models_that_no_other_beats_are_marked(handmade_home: Path) -> None:
    run = read_run(handmade_home, "mini")
    metrics = run.metrics.filter(
        pl.col("metric") == "ndcg", pl.col("n") == 10, pl.col("model").is_in(["ours", "als", "popular"])
    )
    accuracy = {"ours": 0.3, "als": 0.2, "popular": 0.1}
    catalogue = pl.DataFrame({"model": list(accuracy), "coverage": [0.5, 0.4, 0.9], "gini": [0.5, 0.4, 0.9]})
    metrics = metrics.with_columns(mean=pl.col("model").replace_strict(accuracy, return_dtype=pl.Float64))
    rows = gather_trade_off(replace(run, metrics=metrics, catalogue=catalogue))
    best = {(row["measure"], row["model"]): row["best"] for row in rows.iter_rows(named=True)}
    # als loses to ours in both; a low Gini is a good one.
    assert best == {
        ("coverage", "ours"): True, ("coverage", "als"): False, ("coverage", "popular"): True,
        ("gini", "ours"): True, ("gini", "als"): True, ("gini", "popular"): False,
    }  # fmt: skip
    labels = rows.filter(pl.col("label").is_not_null()).select("measure", "label").rows()
    assert labels == [("coverage", "ours"), ("coverage", "popular"), ("gini", "ours"), ("gini", "als")]
    # Dots in the same place share a label.
    same = catalogue.with_columns(pl.lit(0.5).alias("coverage"), pl.lit(0.5).alias("gini"))
    close = metrics.with_columns(pl.lit(0.3).alias("mean"))
    rows = gather_trade_off(replace(run, metrics=close, catalogue=same))
    assert rows["label"].drop_nulls().to_list() == ["ours, als, popular"] * 2


def test_every_measure_can_be_chosen(handmade_home: Path) -> None:
    (choice,) = show_trade_off(read_run(handmade_home, "mini")).choices
    assert list(choice.options) == ["coverage", "novelty", "diversity", "cold_share", "gini"]

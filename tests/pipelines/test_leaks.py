"""A ranker that learned from sources which had seen the labels must not be promoted.

It trusts scores that say at training what users did next, and at night say nothing of the kind: the commonest and most
costly mistake of two-stage recommenders.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from miniature import NOW, RUN_DATE, change, settings

from recsys.artifacts.runs import read_run
from recsys.candidates.models import CandidateModels
from recsys.config import Config, parse_config
from recsys.dataset.demo import write_demo
from recsys.errors import Refused
from recsys.evaluation.summaries import select_row
from recsys.pipelines.promote import promote
from recsys.pipelines.run import run_all
from recsys.pipelines.train import train
from recsys.training import fitting
from recsys.training.text_models import HistorySnapshot, TextModels


def leak(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fit the sources of every label window on later events too."""
    honest, honest_chain = fitting.fit_candidate_models, fitting.fit_chain

    def dishonest(
        config: Config, items: pl.DataFrame, text: TextModels, _: HistorySnapshot, continued: CandidateModels
    ) -> CandidateModels:
        return honest(config, items, text, text.history_snapshots[0], continued)

    def dishonest_chain(*arguments: Any) -> list[CandidateModels]:
        chain = honest_chain(*arguments)
        return chain[:1] * len(chain)

    monkeypatch.setattr(fitting, "fit_candidate_models", dishonest)
    monkeypatch.setattr(fitting, "fit_chain", dishonest_chain)


def test_the_gate_refuses_a_ranker_of_leaky_rows(
    tmp_path: Path, new_home: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path))
    write_demo(tmp_path, users=400, items=150, days=40, seed=0)
    content: dict[str, Any] = settings() | {"text": {"max_tokens": 16, "fine_tune": {"epochs": 0}}}
    config, home = change(parse_config(content, "test"), registry={"gate": {"max_loss": 0.1}}), new_home()
    run_all(config, home, RUN_DATE, NOW)
    honest = select_row(read_run(home, config.name).metrics, model="ours", metric="ndcg", n=10)
    leak(monkeypatch)
    train(change(config, ranking={"max_trees": 21}), home, RUN_DATE)
    leaky = read_run(home, config.name)
    # On its own folds, which share the leak, it looks good.
    assert "; +0." in leaky.measured["ranker"]
    assert select_row(leaky.metrics, model="ours", metric="ndcg", n=10)["mean"] < 0.8 * honest["mean"]
    with pytest.raises(Refused, match=r"refused: (worse|cannot tell): ndcg@10"):
        promote(config, home)

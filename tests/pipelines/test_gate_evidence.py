"""Gathering the evidence for the gate: every check has its figures, from the right version and window."""

from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree

import polars as pl
import pytest
from miniature import LAST_DAY, LENIENT_GATE, Trained, change, copy_home

from recsys.config import Config
from recsys.config.overrides import apply_settings
from recsys.errors import DataError
from recsys.evaluation.summaries import select_row
from recsys.pipelines.compare import read_logged_run
from recsys.pipelines.judgement import judge_challenger
from recsys.pipelines.train import train
from recsys.registry.gate.decide import BLEND
from recsys.registry.gate.decision import Check, Decision
from recsys.registry.tracking import Store, connect
from recsys.registry.versions import CHALLENGER, CHAMPION, Version, need_version
from recsys.training.list_measurement import BLEND as MEASURED_BLEND

NAME = "recsys"


@pytest.fixture(scope="module")
def home(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two versions: 1 is champion, 2 was trained a week later, with two sources only."""
    home = copy_home(trained.home, tmp_path_factory.mktemp("judging") / "home")
    train(apply_settings(trained.config, {"candidates.depths": {"als": 10, "popular": 10}}), home, LAST_DAY)
    yield home
    rmtree(home)


@pytest.fixture(scope="module")
def store(home: Path, trained: Trained) -> Store:
    return connect(home, trained.config)


@pytest.fixture(scope="module")
def config(trained: Trained) -> Config:
    """The miniature's, with every guardrail switched on."""
    gate = {name: value for name, value in LENIENT_GATE.items() if name != "guardrails"}
    content = trained.config.model_dump(exclude_unset=True)
    content["registry"] = {**content["registry"], "gate": gate}
    return Config.model_validate(content)


@pytest.fixture(scope="module")
def champion(store: Store) -> Version:
    return need_version(store, NAME, CHAMPION, "")


@pytest.fixture(scope="module")
def challenger(store: Store) -> Version:
    return need_version(store, NAME, CHALLENGER, "")


@pytest.fixture(scope="module")
def decision(config: Config, home: Path, store: Store, champion: Version, challenger: Version) -> Decision:
    """Version 2 against version 1, which is champion and anchor."""
    return judge_challenger(config, home, store, challenger, champion, champion, spent=0.0, tries=0)


def find_check(decision: Decision, name: str) -> Check:
    (check,) = (check for check in decision.checks if check.name == name)
    return check


def test_a_first_champion_is_held_against_every_model_of_its_run(
    config: Config, home: Path, store: Store, champion: Version
) -> None:
    decision = judge_challenger(config, home, store, champion, None, None, spent=0.0, tries=0)
    models = set(read_logged_run(store, champion).user_metrics["model"]) - {"ours"}
    names = {check.name.removeprefix("source ") for check in decision.checks}
    assert names == models | {"floor"}
    assert (decision.promoted, decision.new_anchor) == (True, True)
    assert decision.sentence.startswith("first champion, compared with")


def test_the_challenger_has_the_numbers_of_its_training(
    decision: Decision, store: Store, champion: Version, challenger: Version
) -> None:
    run = read_logged_run(store, challenger)
    metrics = {
        model: select_row(run.metrics, model=model, metric="ndcg", n=10)["mean"] for model in set(run.metrics["model"])
    }
    check = find_check(decision, f"champion version {champion.number}")
    assert check.figure == pytest.approx(metrics["ours"])
    # The anchor is the champion here, so it is not measured again.
    anchor = find_check(decision, "anchor (champion)")
    assert (anchor.figure, anchor.against) == (check.figure, check.against)
    assert find_check(decision, "blend").against == pytest.approx(metrics[BLEND])
    strongest = max((value, name) for name, value in metrics.items() if name not in ("ours", BLEND))
    (source,) = (check for check in decision.checks if check.name.startswith("source "))
    assert source.against == pytest.approx(strongest[0])


def test_every_guardrail_has_its_figures(decision: Decision, store: Store, challenger: Version) -> None:
    run = read_logged_run(store, challenger)
    coverage = find_check(decision, "coverage")
    assert coverage.figure == pytest.approx(select_row(run.catalogue, model="ours")["coverage"])
    assert coverage.against is not None
    seconds = find_check(decision, "seconds")
    assert seconds.against is not None
    assert min(seconds.figure, seconds.against, seconds.users) > 0
    memory = find_check(decision, "bytes")
    assert memory.figure == run.measured["bytes_per_1000_users"] > 0
    # Two sources of depth 10 need less memory than nine of depth 50.
    assert memory.against is not None
    assert memory.figure < memory.against
    assert find_check(decision, "fallback share").figure == run.measured["fallback_share"]
    churn = find_check(decision, "churn")
    assert 0 < churn.figure < 1
    light = find_check(decision, "users: light")
    positives = run.positives.filter(pl.col("segments").list.contains("users: light"))
    assert light.users == positives["user_id"].n_unique()
    assert {check.name for check in decision.checks if check.kind == "guardrail"} >= {"users: new", "items: cold"}


def test_an_anchor_that_has_seen_the_window_is_left_out(
    config: Config, home: Path, store: Store, champion: Version, challenger: Version
) -> None:
    # Version 1 before the gate once more: its test window is part of what version 2 learned from.
    decision = judge_challenger(config, home, store, champion, champion, challenger, spent=0.0, tries=0)
    row = find_check(decision, "anchor version 2")
    assert row.verdict == "cannot tell"
    assert "anchor version 2 was not compared: " in row.sentence
    assert "were trained on later events" in row.sentence
    # The same model differs for no user.
    assert (decision.answer, decision.promoted) == ("cannot tell", False)
    assert "ndcg@10 is the same for all" in decision.sentence


def test_an_anchor_of_another_version_is_measured_too(
    config: Config, home: Path, store: Store, champion: Version, challenger: Version
) -> None:
    decision = judge_challenger(config, home, store, challenger, champion, challenger, spent=0.0, tries=0)
    row = find_check(decision, "anchor version 2")
    assert (row.difference, row.users) == (0.0, find_check(decision, "champion version 1").users)


def test_a_metric_that_was_not_measured(
    trained: Trained, home: Path, store: Store, champion: Version, challenger: Version
) -> None:
    other = change(trained.config, evaluation={"n": 7, "n_values": [7]})
    with pytest.raises(DataError, match="version 2 of 'recsys': no user has ndcg@7; train again"):
        judge_challenger(other, home, store, challenger, champion, champion, spent=0.0, tries=0)


def test_the_blend_has_the_name_of_its_measurement() -> None:
    assert BLEND == MEASURED_BLEND

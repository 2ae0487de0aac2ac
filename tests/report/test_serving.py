"""The registry's view of a run, from a real store."""

from pathlib import Path

from miniature import Trained

from recsys.artifacts.runs import find_run
from recsys.registry.tracking import connect
from recsys.report.serving import read_serving


def test_a_promoted_training_has_its_version_decision_and_code(
    trained: Trained, reported_home: Path, other_homes_forgotten: None
) -> None:
    run = find_run(reported_home, trained.config.name)
    assert run is not None
    store = connect(reported_home, trained.config)
    found = read_serving(store, reported_home, trained.config.model_name, run)
    assert found.problem == ""
    assert found.record is not None
    assert (found.version, found.record.ended is not None) == ("1", True)
    assert found.record.code_version
    assert found.judged is not None
    assert found.judged.action == "promote"
    assert found.decision is not None
    assert found.decision.promoted
    assert found.champion == found.judged


def test_a_run_that_the_store_does_not_have(trained: Trained, reported_home: Path, other_homes_forgotten: None) -> None:
    store = connect(reported_home, trained.config)
    found = read_serving(store, reported_home, trained.config.model_name, "no such run")
    assert (found.problem, found.record, found.judged, found.decision) == ("", None, None, None)
    assert found.champion is not None

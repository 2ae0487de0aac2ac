"""The registry's view of a run, from a real store."""

from pathlib import Path

import pytest
from miniature import Trained

from recsys.artifacts.runs import find_run
from recsys.errors import RegistryError
from recsys.registry.promotion_log import Entry, PromotionLog
from recsys.registry.tracking import connect
from recsys.report.limits import show_limits
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


def test_a_decision_table_that_cannot_be_read_leaves_the_rest(
    trained: Trained, reported_home: Path, other_homes_forgotten: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: PromotionLog, entry: Entry) -> str:
        raise RegistryError("the file is gone")

    monkeypatch.setattr(PromotionLog, "read_decision", fail)
    run = find_run(reported_home, trained.config.name)
    assert run is not None
    store = connect(reported_home, trained.config)
    found = read_serving(store, reported_home, trained.config.model_name, run)
    assert (found.problem, found.version, found.decision) == ("", "1", None)
    assert found.judged is not None
    (note,) = show_limits(found, [], trained.config.generation.sanity, 10).notes
    assert note.endswith("cannot be read.")

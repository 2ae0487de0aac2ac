"""Registered versions without bundles, and a gate that gives a preset answer: for tests of what surrounds the gate."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from miniature import settings

from recsys.config import Config, parse_config
from recsys.registry.gate.decision import Check, Decision
from recsys.registry.promotion_log import PromotionLog
from recsys.registry.tracking import Store, connect
from recsys.registry.versions import CHALLENGER, CHAMPION, Version, find_version

NAME = "recsys"
CONFIG: Config = parse_config(settings(), "test")


def make_version(store: Store, *, name: str = NAME, challenger: bool = True, **tags: str) -> str:
    """Register a version that has nothing but tags, and return its number."""
    client = store.client
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    number = str(client.create_model_version(name, "s3://nowhere/bundle").version)
    facts = {"snapshot": "abc", "test_start": "2025-01-01", "test_end": "2025-01-08", "protocol": "global_time"}
    for key, value in {**facts, **tags, "complete": "true"}.items():
        client.set_model_version_tag(name, number, key, value)
    if challenger:
        client.set_registered_model_alias(name, CHALLENGER, number)
    return number


def champion(store: Store, name: str = NAME) -> str | None:
    """Return the number of the version that the alias names."""
    version = find_version(store, name, CHAMPION)
    return version.number if version else None


def challenger(store: Store, name: str = NAME) -> str | None:
    """Return the number of the version that the alias names."""
    version = find_version(store, name, CHALLENGER)
    return version.number if version else None


def open_log(home: Path, name: str = NAME) -> PromotionLog:
    """Open the log of a model."""
    return PromotionLog.open(connect(home, CONFIG), home, name)


def decide(
    answer: str = "better", *, spent: float = 0.0, new_anchor: bool | None = None, sentence: str | None = None
) -> Decision:
    """Return a decision of the gate."""
    promoted = answer in ("better", "as good")
    sentence = sentence or f"ndcg@10 is {answer}"
    difference = 0.01 if promoted else -0.01
    check = Check(
        name="champion version 1",
        kind="rival",
        metric="ndcg@10",
        figure=0.31,
        against=0.3,
        difference=difference,
        low=-0.02,
        high=0.02,
        margin=0.006,
        verdict=answer,
        users=900,
        sentence=sentence,
    )
    anchored = answer == "better" if new_anchor is None else new_anchor
    return Decision(answer, promoted, sentence, (check,), spent, anchored)


@dataclass
class FakeGate:
    """A gate that gives a preset answer, and remembers what it was asked."""

    decision: Decision = field(default_factory=decide)
    asked: list[dict[str, Any]] = field(default_factory=list)

    def judge(
        self,
        config: Config,
        home: Path,
        store: Store,
        challenger: Version,
        champion: Version | None,
        anchor: Version | None,
        *,
        spent: float,
        tries: int,
    ) -> Decision:
        versions = {"challenger": challenger, "champion": champion, "anchor": anchor}
        numbers = {name: version.number if version else None for name, version in versions.items()}
        self.asked.append({**numbers, "spent": spent, "tries": tries})
        return self.decision

    @classmethod
    def install(cls, monkeypatch: pytest.MonkeyPatch) -> "FakeGate":
        """Put it in place of the real one."""
        gate = cls()
        monkeypatch.setattr("recsys.pipelines.promote.judge_challenger", gate.judge)
        return gate

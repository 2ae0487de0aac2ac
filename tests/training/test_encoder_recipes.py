"""`tests/benchmarks/encoder_recipes.py`: kept trainings are not repeated; differences are paired by seed and user."""

import json
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

import pytest
from miniature import settings

from recsys.config import parse_config


@pytest.fixture
def recipes(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    import encoder_recipes

    return encoder_recipes


def test_a_file_continues_a_measurement(recipes: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cooked: list[tuple[str, int]] = []

    class Kitchen:
        def __init__(self, config: object) -> None:
            del config

        def cook(self, recipe: str, changes: object, seed: int) -> object:
            del changes
            cooked.append((recipe, seed))
            gain = 0.25 if recipe == "fine-tuned" else 0.0
            return recipes.Training("mini", recipe, seed, 2.0, {"ndcg@10": [seed / 8 + gain, seed / 8]})

    monkeypatch.setattr(recipes, "Kitchen", Kitchen)
    kept = tmp_path / "kept.jsonl"
    other = recipes.Training("other", "frozen", 1, 9.0, {"ndcg@10": [1.0]})
    kept.write_text(json.dumps(asdict(other)) + "\n", "utf-8")
    wanted = {name: recipes.RECIPES[name] for name in ("frozen", "fine-tuned")}
    config = parse_config(settings(), "test")
    recipes.compare(config, wanted, [0], kept)
    lines = recipes.compare(config, wanted, [0, 1], kept)
    assert cooked == [("frozen", 0), ("fine-tuned", 0), ("frozen", 1), ("fine-tuned", 1)]
    assert len(kept.read_text("utf-8").splitlines()) == 5
    assert recipes.compare(config, wanted, [0, 1], kept) == lines
    assert len(cooked) == 4
    # Means of 0 and 1/8 over the seeds; the gain is 1/4 for one of two users.
    assert lines[0].split(" | ")[1] == "ndcg@10 0.0625 ± 0.0625 of 2"
    assert lines[1].split(" | ")[1] == "ndcg@10 0.1875 ± 0.0625 (+0.1250 [+0.0000, +0.2500]) of 2"


def test_only_seeds_of_both_are_compared(recipes: ModuleType) -> None:
    def make(recipe: str, seed: int, value: float) -> object:
        return recipes.Training("mini", recipe, seed, 1.0, {"ndcg@10": [value, value]})

    frozen = [make("frozen", seed, value) for seed, value in ((0, 0.25), (1, 0.75))]
    line = recipes.describe("fine-tuned", [make("fine-tuned", seed, 0.5) for seed in (1, 2)], frozen)
    assert "(-0.2500 [-0.2500, -0.2500])" in line
    assert "(" not in recipes.describe("fine-tuned", [make("fine-tuned", 2, 0.5)], frozen).split("ndcg@10")[1]

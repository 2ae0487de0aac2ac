"""The file of a search space."""

from pathlib import Path

import pytest
from miniature import settings

from recsys.config import Config, load_config, parse_config
from recsys.errors import ConfigError
from recsys.pipelines.tuning.space import Choices, Range, Space, read_space

CONFIGS = Path(__file__).parents[3] / "configs"


@pytest.fixture(scope="module")
def config() -> Config:
    return parse_config(settings(), "test")


def read(text: str, config: Config, folder: Path) -> Space:
    path = folder / "space.yaml"
    path.write_text(text, encoding="utf-8")
    return read_space(path, config)


def test_types_follow_from_the_written_numbers(config: Config, tmp_path: Path) -> None:
    space = read(
        """
        collab.als.epochs: {low: 5, high: 30}
        collab.als.alpha: {low: 1, high: 8.0}
        collab.als.regularization: {low: 1e-3, high: 1e-1, log: true}
        candidates.depths.text: {low: 20, high: 100, step: 20}
        text.fields: {choices: [[title], [title, tags]]}
        candidates.popularity_half_life_days: {choices: [null, 7.0]}
        """,
        config,
        tmp_path,
    )
    whole = {path: one.whole for path, one in space.settings.items() if isinstance(one, Range)}
    assert whole == {
        "collab.als.epochs": True,
        "collab.als.alpha": False,
        # YAML 1.1 reads 1e-3 as text.
        "collab.als.regularization": False,
        "candidates.depths.text": True,
    }
    fields = space.settings["text.fields"]
    assert isinstance(fields, Choices)
    assert fields.labels == ['["title"]', '["title", "tags"]']


def test_all_example_spaces_are_valid() -> None:
    paths = sorted((CONFIGS / "spaces").glob("*.yaml"))
    assert paths
    for path in paths:
        read_space(path, load_config(CONFIGS / path.name))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("collab.als.regularisation: {low: 0.1, high: 0.2}", "no setting collab.als.regularisation; did you mean regu"),
        ("text.max_tokens.x: {low: 10, high: 20}", "text.max_tokens is a value, not a section"),
        ("windows.test_days: {low: 1.0, high: 3.0}", "is not below text, collab, candidates or ranking"),
        ("evaluation.metric: {choices: [mrr]}", "is not below text, collab, candidates or ranking"),
        ("text.max_tokens: {low: 100, high: 20}", "low 100 is above high 20; swap them"),
        ("text.max_tokens: {low: 4, high: 20}", "the config refuses 4: text.max_tokens: Input should be greater"),
        ("text.max_tokens: {low: 20, high: 600}", "the config refuses 600: text.max_tokens: Input should be less"),
        # Both ends are integers; values in between are not.
        ("text.max_tokens: {low: 16.0, high: 64.0}", "the config refuses 31.28: text.max_tokens: Input should be a va"),
        ("candidates.depths.nobody: {low: 1, high: 9}", "depths: no source ['nobody']"),
        ("text.fields: {choices: [[title], [titel]]}", "the config refuses ['titel']: config: text.fields ['titel']"),
        (
            "text.max_tokens: {low: 20, high: 90, step: 20}",
            "high 90 cannot be reached from 20 in steps of 20; write 80",
        ),
        ("text.max_tokens: {low: 20, high: 90, step: 0}", "step is 0, expected a number above 0"),
        ("ranking.lambda_l2: {low: 0.0, high: 3.0, log: true}", "log needs low above 0 and no step"),
        ("ranking.lambda_l2: {low: 1.0, high: .inf}", "high: is inf, expected a number"),
        ("ranking.min_data_in_leaf: {choices: []}", "choices: Tuple should have at least 1 item"),
        ("ranking.min_data_in_leaf: {choices: [5, 9, 5]}", "a choice is listed twice"),
        ("ranking.min_data_in_leaf: {min: 5, high: 9}", "low: Field required; min: Extra inputs are not permitted"),
        ("ranking.min_data_in_leaf: 5", "found 5, expected {low: …, high: …} or {choices: […]}"),
        (
            "candidates.depths: {choices: [{als: 5}]}\ncandidates.depths.als: {low: 5, high: 9}",
            "candidates.depths.als: overlaps with candidates.depths; search only one",
        ),
        ("- 5", "expected settings with ranges"),
        ("", "expected settings with ranges"),
        ("a: [", "is not valid YAML"),
    ],
)
def test_errors_name_the_fault(line: str, expected: str, config: Config, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read(line, config, tmp_path)
    assert str(tmp_path / "space.yaml") in str(caught.value)
    assert expected in str(caught.value)
    assert caught.value.exit_code == 2


def test_all_invalid_lines_are_named_at_once(config: Config, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="2 invalid settings") as caught:
        read("text.x: {low: 1, high: 2}\nranking.max_trees: {low: 5, high: 9}\nranking.y: 3", config, tmp_path)
    assert str(caught.value).count("\n") == 2


def test_a_missing_file_is_named(config: Config, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="set --space to an existing"):
        read_space(tmp_path / "none.yaml", config)


def test_drawn_numbers_are_rounded() -> None:
    assert Range(low=0.01, high=0.5).round(0.0374540118847) == 0.03745
    # Rounding never leaves the range.
    assert Range(low=0.1, high=0.123456).round(0.12345599) == 0.123456
    assert Range(low=0.123446, high=0.5).round(0.123447) == 0.123446
    assert Range(low=5, high=30).round(7) == 7


def test_values_of_a_range() -> None:
    steps = Range(low=0.1, high=0.7, step=0.2)
    assert [steps.holds(value) for value in (0.1, 0.3, 0.7, 0.2, 0.9, "0.3", True, None)] == [True] * 3 + [False] * 5
    assert not Range(low=1, high=9).holds(3.0)
    assert Choices(choices=(None, [1])).holds([1])
    assert not Choices(choices=(1, 2)).holds(True)


def test_the_digest_follows_the_content(config: Config, tmp_path: Path) -> None:
    one = read("ranking.min_data_in_leaf: {low: 5, high: 9}", config, tmp_path).digest()
    assert one == read("# spaced\nranking.min_data_in_leaf:   {high: 9, low: 5}\n", config, tmp_path).digest()
    assert one != read("ranking.min_data_in_leaf: {low: 5, high: 10}", config, tmp_path).digest()

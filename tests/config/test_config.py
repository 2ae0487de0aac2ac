from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from miniature import settings

from recsys.config import data_path, home, load_config, parse_config
from recsys.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture
def content() -> dict[str, Any]:
    return settings()


def reason_against(content: Mapping[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config(dict(content), "my.yaml")
    return str(caught.value)


def reason_against_file(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    return str(caught.value)


class TestFile:
    def test_reads_what_was_written(self, content: dict[str, Any], tmp_path: Path) -> None:
        (tmp_path / "my.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
        assert load_config(tmp_path / "my.yaml") == parse_config(content, "memory")

    def test_a_byte_order_mark_and_other_scripts_are_welcome(self, content: dict[str, Any], tmp_path: Path) -> None:
        content["dataset"]["items"]["columns"]["title"] = "标题 😀"
        (tmp_path / "my.yaml").write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8-sig")
        assert load_config(tmp_path / "my.yaml").dataset.items.columns.title == "标题 😀"

    @pytest.mark.parametrize("name", ["none.yaml", "."])
    def test_no_such_file(self, name: str, tmp_path: Path) -> None:
        message = reason_against_file(tmp_path / name)
        assert str(tmp_path / name) in message
        assert "cannot be read" in message

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            (b"name: [a\nb: }", "line 2, column 2"),
            (b"name: a\0b", "not valid YAML"),
            (b"- a\n- b\n", "is a list, expected sections"),
            (b"", "is empty, expected sections"),
            (b"name: \xff", "not UTF-8 text (byte 6)"),
        ],
    )
    def test_not_a_config(self, text: bytes, reason: str, tmp_path: Path) -> None:
        (tmp_path / "my.yaml").write_bytes(text)
        message = reason_against_file(tmp_path / "my.yaml")
        assert reason in message
        assert str(tmp_path / "my.yaml") in message

    @pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
    def test_every_config_of_the_project_loads(self, path: Path) -> None:
        assert load_config(path).name == path.stem


class TestSettings:
    def test_every_unknown_key_is_named_with_its_place(self, content: dict[str, Any]) -> None:
        message = reason_against({**content, "foo": 1, "text": {"fine_tune": {"epoch": 2}}})
        assert message.startswith("config my.yaml: 2 invalid settings")
        assert "\n  foo: " in message
        assert "\n  text.fine_tune.epoch: " in message

    @pytest.mark.parametrize(
        ("section", "key", "value"),
        [
            ("generation", "n", "ten"),
            ("generation", "n", 0),
            ("generation", "active_days", -1.0),
            ("evaluation", "confidence", 1.0),
            ("evaluation", "metric", "accuracy"),
            ("evaluation", "propensity_power", float("nan")),
            # MLflow would say so only after the training.
            ("registry", "model_name", "team/books"),
            ("registry", "experiment", ""),
            ("text", "fields", []),
            ("windows", "protocol", "by_hand"),
            # Before the year 1.
            ("windows", "test_days", 1e6),
            ("ranking", "max_trees", None),
        ],
    )
    def test_a_value_that_does_not_fit_is_named(
        self, section: str, key: str, value: object, content: dict[str, Any]
    ) -> None:
        changed = {**content, section: {**content.get(section, {}), key: value}}
        assert f"\n  {section}.{key}: " in reason_against(changed)

    @pytest.mark.parametrize(
        ("field", "reason"),
        [
            ("by {author", "expected '}' before end of string"),
            ("by {", "Single '{' encountered"),
            ("{title} }", "Single '}' encountered"),
            ("{ti{tle}", "unexpected '{'"),
            ("by {}", "braces may contain only the name of a column"),
            ("{title:>30}", "braces may contain only the name of a column"),
            ("{title!r}", "braces may contain only the name of a column"),
            ("{title:{description}}", "braces may contain only the name of a column"),
            ("{{title}}", "it contains no column name"),
        ],
    )
    def test_a_phrase_that_cannot_be_read(self, field: str, reason: str, content: dict[str, Any]) -> None:
        message = reason_against({**content, "text": {"fields": ["title", field]}})
        assert message.startswith("config my.yaml: 1 invalid setting")
        assert f"\n  text.fields: '{field}' is not a valid phrase: {reason}" in message
        assert message.endswith("write it like 'by {author}', and double literal braces")

    def test_a_phrase_around_columns(self, content: dict[str, Any]) -> None:
        fields = ["{tags} / {category}", "title", "{{{title}}}"]
        content["text"]["fields"] = fields
        config = parse_config(content, "my.yaml")
        assert list(config.text.fields) == fields
        assert parse_config(config.resolved(), "again") == config

    @pytest.mark.parametrize("seed", [-1, 2**40])
    def test_a_seed_that_a_generator_would_refuse(self, seed: int, content: dict[str, Any]) -> None:
        assert "\n  seed: " in reason_against({**content, "seed": seed})

    @pytest.mark.parametrize("name", ["", "Books", "../books", "a b", "-a", "书", "a\n"])
    def test_a_name_that_is_no_file_name(self, name: str, content: dict[str, Any]) -> None:
        assert "\n  name: " in reason_against({**content, "name": name})

    def test_nothing_can_be_changed_after_loading(self, content: dict[str, Any]) -> None:
        config = parse_config(content, "my.yaml")
        with pytest.raises(ValueError, match="frozen"):
            config.text.max_tokens = 8


class TestSectionsTogether:
    @pytest.mark.parametrize(
        ("path", "value", "reason"),
        [
            ("windows", {}, "exactly one of test_days and test_share"),
            ("windows", {"test_days": 7, "test_share": 0.1}, "exactly one of test_days and test_share"),
            ("windows", {"protocol": "holdout_file"}, "holdout_path"),
            ("windows", {"protocol": "random", "label_windows": 2}, "label_windows must be 1"),
            ("candidates", {"depths": {}}, "depths is empty"),
            ("candidates", {"depths": {"als": 5, "magic": 5}}, "no source ['magic']"),
            ("candidates", {"depths": {"repeat": 5}}, "dataset.repeats is false"),
            ("candidates", {"depths": {"segment_popular": 5}}, "depths has 'segment_popular', but no segment_column"),
            ("candidates", {"segment_column": "genre"}, "'genre' is neither tags nor an attribute of dataset.items"),
            ("evaluation", {"n": 7}, "n is 7, which is not in n_values"),
            ("text", {"fields": ["title", "author"]}, "text.fields ['author'] are not item columns"),
            (
                "text",
                {"fields": ["title", "{year} by {author}"]},
                "text.fields ['author', 'year'] are not item columns",
            ),
            ("text", {"fields": ["{0}", "{title.upper}"]}, "text.fields ['0', 'title.upper'] are not item columns"),
            ("dataset.items.attributes", {"tags": "labels"}, "attributes ['tags'] have the names of item columns"),
            ("dataset.items.attributes", {"list price": "price"}, "String should match pattern"),
            ("dataset.interactions.columns", {"time": "t", "order": "o"}, "are both set"),
            ("dataset.interactions.columns", {"order": "o"}, "global_time needs dataset.interactions.columns.time"),
            ("dataset.interactions.positive_events", ["like", "wish"], "['wish'] are not in event_weights"),
            ("dataset.interactions.event_weights", {}, "at least 1 item"),
        ],
    )
    def test_a_rule_between_settings(self, path: str, value: object, reason: str, content: dict[str, Any]) -> None:
        *sections, last = path.split(".")
        inner = content
        for section in sections:
            inner = inner[section]
        inner[last] = value
        message = reason_against(content)
        assert reason in message
        assert "Value error" not in message

    @pytest.mark.parametrize("column", ["tags", "category"])
    def test_segments_by_tags_or_an_attribute(self, column: str, content: dict[str, Any]) -> None:
        content["candidates"] = {"depths": {"segment_popular": 5}, "segment_column": column}
        assert parse_config(content, "my.yaml").candidates.segment_column == column

    def test_bm25_stays_itself_whatever_else_is_set(self, content: dict[str, Any]) -> None:
        content["collab"] = {"bm25": {"k": 7}}
        assert parse_config(content, "my.yaml").collab.bm25.weighting == "bm25"
        content["collab"] = {"bm25": {"weighting": "cosine"}}
        assert "collab.bm25.weighting" in reason_against(content)

    @pytest.mark.parametrize("key", ["leave_last_out", "active_days"])
    def test_settings_that_need_a_time(self, key: str, content: dict[str, Any]) -> None:
        content["dataset"]["interactions"]["columns"] = {"user_id": "user_id"}
        content["windows"] = {"protocol": "random"}
        parse_config(content, "without a time")
        if key == "active_days":
            content["generation"] = {"active_days": 30}
        else:
            content["windows"] = {"protocol": "leave_last_out"}
        assert "columns.time" in reason_against(content) or "needs a time or an order" in reason_against(content)

    def test_an_order_is_enough_for_leave_last_out(self, content: dict[str, Any]) -> None:
        content["dataset"]["interactions"]["columns"] = {"order": "line"}
        content["windows"] = {"protocol": "leave_last_out"}
        assert parse_config(content, "my.yaml").windows.protocol == "leave_last_out"


class TestDigest:
    def test_says_the_same_whatever_the_order_of_the_keys(self, content: dict[str, Any]) -> None:
        turned = dict(reversed(content.items()))
        assert parse_config(turned, "a").digest() == parse_config(content, "b").digest()

    def test_a_default_written_out_changes_nothing(self, content: dict[str, Any]) -> None:
        config = parse_config(content, "a")
        assert parse_config(config.resolved(), "b") == config
        assert parse_config(config.resolved(), "b").digest() == config.digest()

    def test_changes_with_any_value(self, content: dict[str, Any]) -> None:
        digests = {
            parse_config({**content, **other}, "a").digest()
            for other in ({}, {"seed": 1}, {"name": "other"}, {"collab": {"als": {"alpha": 5.1}}})
        }
        assert len(digests) == 4
        assert {len(digest) for digest in digests} == {12}


class TestPlaces:
    def test_home_defaults_below_the_working_directory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert home() == tmp_path / "data/home"
        # As an empty variable in a compose file does.
        monkeypatch.setenv("RECSYS_HOME", "")
        assert home() == tmp_path / "data/home"

    def test_home_from_the_environment(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HOME", "/somebody")
        for given, expected in (("/a/家", "/a/家"), ("here", f"{tmp_path}/here"), ("~/x", "/somebody/x")):
            monkeypatch.setenv("RECSYS_HOME", given)
            assert home() == Path(expected)

    def test_raw_data_start_from_their_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert data_path("a/b.csv") == tmp_path / "a/b.csv"
        monkeypatch.setenv("RECSYS_DATA", "/data")
        assert data_path("a/b.csv") == Path("/data/a/b.csv")
        assert data_path("/else/b.csv") == Path("/else/b.csv")

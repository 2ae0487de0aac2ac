from pathlib import Path

import pytest
import yaml

from recsys.config import load_config
from recsys.config.yaml_text import parse_yaml
from recsys.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "'a' appears twice, in lines 1 and 3; keep one"),
        ("x:\n  y:\n    - {k: 1, k: 2}\n", "'k' appears twice, in lines 3 and 3; keep one"),
        ("base: &b {a: 1}\nc: {<<: *b, a: 2, a: 3}\n", "'a' appears twice, in lines 2 and 2"),
        ("1: a\n0x1: b\n", "'1' appears twice, in lines 1 and 2"),
        ("a: !!python/object/apply:os.system ['true']\n", "could not determine a constructor"),
        ("a: &a [*a]\n", "it contains itself through an alias"),
        ("x: &x {<<: &y {a: 1}, b: 2, b: 3}\nz: {<<: *x}\n", "'b' appears twice"),
    ],
)
def test_what_is_refused(text, message):
    with pytest.raises(yaml.YAMLError, match=message):
        parse_yaml(text)


def test_anchors_and_merge_keys_are_read():
    text = "base: &b {a: 1, c: 4}\nfirst: {<<: *b, a: 2}\nsecond: {<<: *b, a: 3}\nlist: [*b, *b]\n"
    assert parse_yaml(text) == {
        "base": {"a": 1, "c": 4},
        "first": {"a": 2, "c": 4},
        "second": {"a": 3, "c": 4},
        "list": [{"a": 1, "c": 4}] * 2,
    }
    assert parse_yaml("") is None


def test_aliases_that_multiply_are_refused():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(yaml.YAMLError, match="more than 100,000 values"):
        parse_yaml("\n".join(lines))


def test_a_config_with_a_setting_given_twice_names_both_lines(tmp_path: Path):
    path = tmp_path / "twice.yaml"
    path.write_text("name: a\nthreads: 1\nname: b\n")
    with pytest.raises(ConfigError, match=r"is not valid YAML: 'name' appears twice, in lines 1 and 3; keep one"):
        load_config(path)

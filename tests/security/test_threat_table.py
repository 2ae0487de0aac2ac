import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_each_threat_names_tests_that_exist():
    page = (ROOT / "docs" / "explanation" / "security.md").read_text("utf-8")
    rows = [line for line in page.partition("## Threats")[2].splitlines() if line.startswith("| ")][2:]
    assert len(rows) > 10
    for row in rows:
        tests = re.findall(r"`(tests/[^`]+)`", row.rstrip("| ").rpartition("|")[2])
        assert tests, row
        assert all("def test_" in (ROOT / test).read_text("utf-8") for test in tests), row

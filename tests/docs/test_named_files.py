import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# configs/ is left out: pages name files that a reader writes there
NAMED = re.compile(r"\b(?:tests|recsys|airflow_dags|notebooks)/[\w./-]+\.(?:py|yaml|ipynb|md|sh)\b")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_names_exist(page):
    # docs/history.md tells how the project grew, with names of that time
    if page.name in {"history.md", "changelog.md"}:
        pytest.skip("names files of former versions")
    missing = [
        name
        for name in set(NAMED.findall(page.read_text("utf-8")))
        if "NAME" not in name and not (ROOT / name).exists()
    ]
    assert not missing

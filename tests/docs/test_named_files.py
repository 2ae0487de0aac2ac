import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# history and changelog describe former versions, with the names of that time
PAGES = [
    page
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if page.name not in {"history.md", "changelog.md"}
]
# configs/ is left out: pages name files that a reader writes there
NAMED = re.compile(r"(?<![\w/])(?:tests|recsys|airflow_dags|notebooks)/[\w./-]+\.(?:py|yaml|ipynb|md|sh)\b")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_names_exist(page):
    named = {name for name in NAMED.findall(page.read_text("utf-8")) if "NAME" not in name}
    assert not [name for name in named if not (ROOT / name).exists()]

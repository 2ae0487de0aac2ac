"""The plotting library of pages: bundled once, and kept in a file that is checked."""

from pathlib import Path

import pytest

from recsys.visuals import html
from recsys.visuals.html import bundle_plotting


@pytest.fixture
def bundled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Snippets that were bundled; bundling itself takes seconds."""
    calls: list[str] = []

    def bundle(snippet: str) -> str:
        calls.append(snippet)
        return f"{snippet} // </script>\n// number {len(calls)}"

    monkeypatch.setattr(html.vl_convert, "javascript_bundle", bundle)
    return calls


def test_the_library_is_bundled_once_and_cannot_end_its_script(bundled: list[str], tmp_path: Path) -> None:
    first = bundle_plotting(tmp_path / "plotting.js")
    assert first == "window.vegaEmbed = vegaEmbed; // <\\/script>\n// number 1"
    assert bundle_plotting(tmp_path / "plotting.js") == first
    assert len(bundled) == 1
    assert bundle_plotting().endswith("number 2")


def test_a_changed_file_or_another_version_is_bundled_again(
    bundled: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "plotting.js"
    first = bundle_plotting(cache)
    cache.write_bytes(cache.read_bytes() + b"alert(1)")
    assert bundle_plotting(cache) == first.replace("number 1", "number 2")
    cache.write_bytes(b"\xff\xfe")
    assert bundle_plotting(cache).endswith("number 3")
    monkeypatch.setattr(html.metadata, "version", lambda name: "99")
    assert bundle_plotting(cache).endswith("number 4")
    assert bundle_plotting(cache).endswith("number 4")
    assert len(bundled) == 4


def test_a_folder_that_cannot_be_written_keeps_nothing(bundled: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert bundle_plotting(tmp_path / "file" / "plotting.js").endswith("number 1")
    assert bundle_plotting(tmp_path / "file" / "plotting.js").endswith("number 2")

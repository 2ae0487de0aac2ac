import pytest

from recsys.storage.run_dates import is_run_date


@pytest.mark.parametrize("text", ["2025-01-31", "2024-02-29", "2052-02-05"])
def test_a_day_is_a_run_date(text: str) -> None:
    assert is_run_date(text)


@pytest.mark.parametrize(
    "text",
    ["", "backup", "2025-13-40", "2025-02-29", "2025-1-5", "20250105", "2025-W01-1", "2025-01-05 ", "٢٠٢٥-٠١-٠١"],
)
def test_another_spelling_is_none(text: str) -> None:
    assert not is_run_date(text)

import threading
from collections.abc import Iterator

import pytest

from recsys.dataset.ingestion.read_ahead import read_ahead


def test_parts_keep_their_order_and_come_from_another_thread() -> None:
    threads = set()

    def make() -> Iterator[int]:
        for number in range(5):
            threads.add(threading.get_ident())
            yield number

    assert list(read_ahead(make())) == list(range(5))
    assert threading.get_ident() not in threads


def test_an_error_arrives_after_the_parts_before_it() -> None:
    def make() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    parts = read_ahead(make())
    assert next(parts) == 1
    with pytest.raises(ValueError, match="broken"):
        next(parts)


def test_nothing_and_an_early_end() -> None:
    assert list(read_ahead(iter(()))) == []
    parts = read_ahead(iter(range(100)))
    assert next(parts) == 0
    parts.close()  # type: ignore[attr-defined]
    assert list(parts) == []

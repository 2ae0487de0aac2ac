import re
from pathlib import Path

import numpy as np
import pytest

from recsys.storage import memory
from recsys.storage.memory import return_freed_memory

STATUS = Path("/proc/self/status")


def read_resident() -> int:
    return int(re.search(r"VmRSS:\s+(\d+) kB", STATUS.read_text())[1]) * 1024


@pytest.mark.skipif(memory._find_trim() is None or not STATUS.exists(), reason="needs glibc")
def test_memory_between_kept_blocks_is_returned():
    # 60,000 bytes are below the size that gets a mapping of its own, so they come from the heap.
    blocks = [np.ones(60_000, dtype=np.uint8) for _ in range(4_000)]
    kept = blocks[::40]
    full = read_resident()
    del blocks
    return_freed_memory()
    assert full - read_resident() > 0.7 * 4_000 * 60_000
    assert all(block.sum() == 60_000 for block in kept)


def test_nothing_happens_without_glibc(monkeypatch):
    monkeypatch.setattr(memory, "_find_trim", lambda: None)
    return_freed_memory()

"""A file elsewhere that can seek: each read is a request."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any


class RequestedFile(io.RawIOBase):
    """A file of known size that is read by requests.

    Args:
        size: bytes.
        read_at: returns bytes of the file, given the first and how many: at least one, unless the file has ended, and
            no more. Raises `DataError`.
        close: called when the file is closed.
    """

    def __init__(
        self, size: int, read_at: Callable[[int, int], bytes], close: Callable[[], None] | None = None
    ) -> None:
        super().__init__()
        self._size, self._read_at, self._close = size, read_at, close
        self._position = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer by one request; return the number of bytes, 0 at the end."""
        length = min(len(buffer), self._size - self._position)
        if length <= 0:
            return 0
        data = self._read_at(self._position, length)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position and return it."""
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def close(self) -> None:
        """Close the file."""
        if not self.closed and self._close is not None:
            self._close()
        super().close()

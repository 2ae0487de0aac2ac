"""Stored files -> their content: compressed streams and archives, with every damage as a `DataError`."""

from __future__ import annotations

import errno
import io
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import pyarrow as pa

from recsys.dataset.raw.signatures import HEAD
from recsys.errors import DataError

# Content is refused that expands to more bytes than the file's limit and to more than RATIO times its stored size.
RATIO = 200
GIGABYTE = 1_000_000_000

_BUFFER = 1 << 20
# Compressed data inside compressed data.
_LAYERS = 3
_DAMAGE = (EOFError, zlib.error, zipfile.BadZipFile)


@dataclass(frozen=True)
class StoredFile:
    """A file as it is stored: on this machine, in an object store, on a web server or in an archive.

    Attributes:
        name: for messages.
        path: its folders and name, from which suffix and partitions come; folders end with `/`.
        open: returns the stored bytes as a stream.
        open_seekable: returns the stored bytes as a file that can seek.
        size: stored bytes; None where unknown.
        place: path of a file on this machine, or address; `` for a member of an archive.
        is_local: whether looking at its first bytes costs no request.
        format: `delta` for the folder of a Delta table, which has no bytes of its own; `` for files.
        limit: bytes that compressed content may expand to at any ratio.
    """

    name: str
    path: str
    open: Callable[[], BinaryIO]
    open_seekable: Callable[[], BinaryIO]
    size: int | None = None
    place: str = ""
    is_local: bool = True
    format: str = ""
    limit: int = GIGABYTE


class Layer(io.RawIOBase):
    """A stream over another one that counts its bytes and raises nothing but `DataError`.

    Args:
        inner: stream that is read, and closed with this one.
        name: of the file, for messages.
        stored: returns how many stored bytes the content so far comes from; None: the content is not expanded.
        beneath: what else is closed with this stream.
        limit: bytes that the content may expand to at any ratio.
    """

    def __init__(
        self,
        inner: Any,
        name: str,
        stored: Callable[[], int] | None = None,
        beneath: tuple[Any, ...] = (),
        limit: int = GIGABYTE,
    ) -> None:
        super().__init__()
        self._inner, self._name, self._stored, self._beneath, self._limit = inner, name, stored, beneath, limit
        self.count = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return whether the inner stream can seek."""
        return bool(self._inner.seekable())

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer, less only at the end.

        Raises:
            DataError: unreadable, damaged or suspiciously small data.
        """
        view, filled = memoryview(buffer).cast("B"), 0
        try:
            while filled < len(view):
                length = self._inner.readinto(view[filled:])
                if not length:
                    break
                filled += length
        except Exception as error:
            raise explain(self._name, error) from error
        self.count += filled
        if self._stored is not None:
            check_expansion(self._name, self.count, self._stored, self._limit)
        return filled

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to a position."""
        try:
            return int(self._inner.seek(offset, whence))
        except Exception as error:
            if isinstance(error, OSError) and error.errno == errno.EINVAL:
                raise  # before the start of a small file, which zipfile tries
            raise explain(self._name, error) from error

    def tell(self) -> int:
        """Return the position."""
        return int(self._inner.tell())

    def close(self) -> None:
        """Close the inner stream, and what is beneath it."""
        if not self.closed:
            super().close()
            for stream in (self._inner, *self._beneath):
                stream.close()


def check_expansion(name: str, expanded: int, stored: Callable[[], int], limit: int) -> None:
    """Raise if content is far larger than what it is stored in.

    Args:
        name: of the file, for messages.
        expanded: bytes of the content so far.
        stored: returns the stored bytes that it comes from.
        limit: bytes that content may expand to at any ratio.

    Raises:
        DataError: it is larger than the limit, and than 200 times the stored bytes.
    """
    if expanded > limit and expanded > RATIO * stored():
        raise DataError(
            f"{name}: expands to more than {limit / GIGABYTE:g} GB and {RATIO} times its stored size, which is "
            "unusual for a table; if it is correct, set max_unpacked_gb of this table higher, or unpack it"
        )


def explain(name: str, error: Exception) -> DataError:
    """Return the error of reading a file as one that names the file and the next step."""
    if isinstance(error, DataError):
        return error
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    if isinstance(error, NotImplementedError):
        return DataError(f"{name}: uses an unsupported compression method ({reason}); unpack it")
    if isinstance(error, RuntimeError) and "password" in reason:
        return DataError(f"{name}: is encrypted with a password; decrypt it")
    if isinstance(error, OSError) and error.errno is not None:
        return DataError(f"{name}: cannot be read ({error.strerror}); check the file and its permissions")
    if isinstance(error, (*_DAMAGE, OSError, pa.ArrowException)):
        return DataError(f"{name}: the compressed data is truncated or damaged ({reason}); copy it again")
    return DataError(f"{name}: cannot be read ({reason}); check the file")


def open_content(file: StoredFile) -> io.BufferedReader:
    """Return the content as a stream, decompressed if its first bytes are those of gzip, zstd or bzip2.

    Raises:
        DataError: on opening or while it is read: an empty, unreadable or damaged file.
    """
    content, _ = _open_layers(file, _BUFFER)
    head = content.peek(HEAD)
    if not head or (len(head) < HEAD and head.isspace()):
        content.close()
        raise DataError(f"{file.name}: the file is empty; write it again or remove it")
    return content


def open_seekable_content(file: StoredFile) -> BinaryIO:
    """Return the content as a file that can seek; compressed content is unpacked into a temporary file.

    Raises:
        DataError: on opening or while it is read: an empty, unreadable or damaged file.
    """
    content, is_compressed = _open_layers(file, HEAD)
    with content:
        if not content.peek(1):
            raise DataError(f"{file.name}: the file is empty; write it again or remove it")
        if is_compressed:
            return spool(file.name, content)
    return _open_seekable(file)


def read_head(file: StoredFile) -> tuple[bytes, bool]:
    """Return the first `HEAD` bytes of the decompressed content, empty for an empty file, and if it was compressed.

    Raises:
        DataError: an unreadable or damaged file.
    """
    content, is_compressed = _open_layers(file, HEAD)
    with content:
        return content.read(HEAD), is_compressed


def spool(name: str, stream: BinaryIO) -> BinaryIO:
    """Copy a stream into a temporary file, which disappears when it is closed, and return that from its start.

    Raises:
        DataError: the stream cannot be read, or the temporary folder is full.
    """
    copy = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    try:
        shutil.copyfileobj(stream, copy, _BUFFER)
        copy.seek(0)
    except OSError as error:
        copy.close()
        raise DataError(
            f"{name}: cannot be unpacked into {tempfile.gettempdir()} ({error.strerror}); free some space there, or "
            "set TMPDIR to another folder"
        ) from error
    except DataError:
        copy.close()
        raise
    return cast(BinaryIO, copy)


def _open(file: StoredFile) -> Any:
    try:
        return file.open()
    except Exception as error:
        raise explain(file.name, error) from error


def _open_seekable(file: StoredFile) -> BinaryIO:
    try:
        stored = file.open_seekable()
    except Exception as error:
        raise explain(file.name, error) from error
    return io.BufferedReader(Layer(stored, file.name), HEAD)


def _open_layers(file: StoredFile, buffer: int) -> tuple[io.BufferedReader, bool]:
    """Return the decompressed content, and whether it was compressed."""
    stored = Layer(_open(file), file.name)
    content: io.BufferedReader = io.BufferedReader(stored, buffer)
    try:
        for layer in range(_LAYERS):
            codec = _find_codec(content.peek(16))
            if codec is None:
                return content, layer > 0
            inner = pa.CompressedInputStream(pa.PythonFile(content, mode="r"), codec)
            content = io.BufferedReader(Layer(inner, file.name, lambda: stored.count, (content,), file.limit), buffer)
    except DataError:
        content.close()
        raise
    content.close()
    raise DataError(f"{file.name}: is compressed more than {_LAYERS - 1} times; unpack it")


def _find_codec(head: bytes) -> str | None:
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    # The last two: a frame to skip, and what follows the block size of bzip2.
    if head.startswith(b"\x28\xb5\x2f\xfd") or (head[1:4] == b"\x2a\x4d\x18" and head[0] >> 4 == 5):
        return "zstd"
    if head.startswith(b"BZh") and head[4:10] in (b"1AY&SY", b"\x17rE8P\x90"):
        return "bz2"
    return None

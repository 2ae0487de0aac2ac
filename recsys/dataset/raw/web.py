"""Files on a web server, read by ranges where the server allows it."""

from __future__ import annotations

import base64
import http.client
import io
import netrc
import os
import urllib.error
import urllib.request
from functools import partial
from typing import Any, BinaryIO, cast
from urllib.parse import unquote, urlsplit

from recsys.dataset.raw.containers import Layer, StoredFile, spool
from recsys.dataset.raw.deadline import answer
from recsys.dataset.raw.requested_file import RequestedFile
from recsys.errors import DataError
from recsys.progress import format_count

# Seconds that a try may wait for the next bytes.
_TIMEOUT = 10.0
# Bytes of a single read.
_READ = 1 << 18


def store_web(address: str) -> StoredFile:
    """Return the file at an http or https address as a stored file; its query is not shown."""
    parts = urlsplit(address)
    name = f"{parts.scheme}://{parts.netloc}{parts.path}"
    return StoredFile(
        name=name,
        path=unquote(parts.path).strip("/"),
        open=partial(_open_stream, name, address),
        open_seekable=partial(_open_ranges, name, address),
        place=name,
        is_local=False,
    )


def _open_stream(name: str, address: str) -> BinaryIO:
    return cast(BinaryIO, _Stream(name, _request(name, address)))


def _open_ranges(name: str, address: str) -> BinaryIO:
    with _request(name, address, "bytes=0-0") as response:
        size = response.headers.get("Content-Range", "").rpartition("/")[2]
        if response.status == http.client.PARTIAL_CONTENT and size.isdigit():
            return cast(BinaryIO, RequestedFile(int(size), partial(_read_range, name, address)))
    with io.BufferedReader(Layer(_open_stream(name, address), name)) as stream:
        return spool(name, stream)


def _request(name: str, address: str, range_: str | None = None) -> Any:
    """Return the server's answer.

    Raises:
        DataError: no answer in time, or a refusal.
    """
    request = urllib.request.Request(address, headers={"User-Agent": "recsys"} | ({"Range": range_} if range_ else {}))
    if credentials := _find_credentials(name, urlsplit(address).hostname or ""):
        # Not sent on to where the server redirects.
        request.add_unredirected_header("Authorization", credentials)
    try:
        return answer(name, lambda: _try_twice(request))
    except urllib.error.HTTPError as error:
        error.close()
        raise DataError(f"{name}: the server returned {error.code} {error.reason}; {_advise(error)}") from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        raise DataError(
            f"{name}: the server cannot be reached ({reason}; 2 tries); check the address and the network"
        ) from error


def _try_twice(request: urllib.request.Request) -> Any:
    try:
        return urllib.request.urlopen(request, timeout=_TIMEOUT)
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            if error.code < 500:
                raise
            error.close()
    return urllib.request.urlopen(request, timeout=_TIMEOUT)


def _advise(error: urllib.error.HTTPError) -> str:
    if error.code in (401, 403):
        return "check that the file is public, or put the user and password for the host into ~/.netrc"
    return "check the address; patterns and folders are for object stores" if error.code == 404 else "run again later"


def _find_credentials(name: str, host: str) -> str | None:
    """Return the header of the user and password that a netrc file has for a host."""
    try:
        found = netrc.netrc(os.environ.get("NETRC")).hosts.get(host)
    except FileNotFoundError:
        return None
    except (OSError, netrc.NetrcParseError) as error:
        raise DataError(f"{name}: the netrc file cannot be read ({type(error).__name__}); fix or remove it") from error
    return found and "Basic " + base64.b64encode(f"{found[0]}:{found[2]}".encode()).decode()


class _Stream(io.RawIOBase):
    """The body of an answer; one that ends early is an error."""

    def __init__(self, name: str, response: Any) -> None:
        super().__init__()
        self._name, self._response, self._received = name, response, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), _READ)
        try:
            data = answer(self._name, lambda: self._response.read(wanted))
        except (OSError, http.client.HTTPException) as error:
            raise DataError(
                f"{self._name}: the connection was lost ({error or type(error).__name__}); run again"
            ) from error
        self._received += len(data)
        expected = self._response.headers.get("Content-Length")
        if not data and wanted and expected is not None and self._received < int(expected):
            raise DataError(
                f"{self._name}: the connection ended after {self._received:,} of "
                f"{format_count(int(expected), 'byte')}; run again"
            )
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._response.close()
        super().close()


def _read_range(name: str, address: str, start: int, length: int) -> bytes:
    """Return bytes of a file, by a request of their own."""
    response = _request(name, address, f"bytes={start}-{start + length - 1}")
    data = bytearray(length)
    filled = 0
    with _Stream(name, response) as stream:
        if response.status != http.client.PARTIAL_CONTENT:
            raise DataError(f"{name}: the server no longer supports range requests for the file; run again")
        while filled < length and (count := stream.readinto(memoryview(data)[filled:])):
            filled += count
    return bytes(data[:filled])

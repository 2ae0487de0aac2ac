"""Addresses of servers, such as `postgresql://user:password@host/name`: shown without credentials.

A driver repeats in its messages what it was given, in whatever spelling. Every message about a server is therefore
cleaned by its address before anyone sees it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, quote_plus, unquote, unquote_plus

HIDDEN = "***"
# Parameters of an address whose values are secret; the others are names of hosts, modes and files.
_SECRET = re.compile(r"pass|pwd|user|uid|token|key|secret|sig|cred|auth|odbc_connect", re.IGNORECASE)
_PAIR = re.compile(r"(\w+)\s*=\s*('(?:[^'\\]|\\.)*'|\S+)")
_SHOWN = ("host", "hostaddr", "port", "dbname")
_QUERY = re.compile(r"[A-Za-z_][\w.-]*=")
_HOST = r"(\[[0-9A-Fa-f:.%]*\]|[^:,\[\]]*)(:\d*)?"
_HOSTS = re.compile(rf"{_HOST}(,{_HOST})*")
# Schemes of files, whose paths may contain any character.
_FILES = ("sqlite", "file")
# Variables that clients of databases and of MLflow take credentials from.
_VARIABLES = (
    "PGUSER",
    "PGPASSWORD",
    "PGPASSFILE",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
)
# For psycopg: a database that cannot be reached, or whose machine is gone, is an error within 20 seconds.
CONNECTION_LIMITS = {
    "connect_timeout": 10,
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
# Shorter secrets are replaced as whole words only, or every "a" of a message would go.
_WORD_LENGTH = 6


@dataclass(frozen=True)
class Address:
    """An address in its parts, decoded.

    Attributes:
        text: as it was given; never shown.
        place: what may be shown: scheme, host, port and path.
        scheme: in front of `://`, such as `postgresql+psycopg`.
        host: host and port; empty for a file, and where it might be part of a password.
        path: behind the host, without the slash between them; encoded.
        user, password: empty where there are none.
        parameters: behind the question mark, as (name, value).
    """

    text: str
    place: str
    scheme: str
    host: str
    path: str
    user: str
    password: str
    parameters: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, text: str) -> Address:
        """Split an address; one that cannot be split for sure is shown as its scheme only.

        A password may contain `/`, `@`, `?` and `%`, encoded or not: everything up to the last `@` is taken for user
        and password.
        """
        scheme, separator, rest = text.partition("://")
        if not separator:
            # A folder, a word such as "databricks", or libpq's other form: host=… password=…
            pairs = tuple((name, value.strip("'")) for name, value in _PAIR.findall(text))
            shown = " ".join(f"{name}={value}" for name, value in pairs if name in _SHOWN) if pairs else text
            return cls(text, HIDDEN if "@" in shown else shown.partition("?")[0], "", "", "", "", "", pairs)
        body, mark, query = rest.partition("?")
        if scheme.partition("+")[0] in _FILES:
            return cls(text, f"{scheme}://{body}", scheme, "", body, "", "", tuple(parse_qsl(query)))
        if mark and not _QUERY.match(query):
            body, query = rest, ""
        credentials, _, host_and_path = body.rpartition("@")
        host, _, path = host_and_path.partition("#")[0].partition("/")
        user, _, password = credentials.partition(":")
        # An "@" behind the question mark, or a word where the port belongs: any part could be the password.
        known = "@" not in query and _HOSTS.fullmatch(host) is not None
        place = f"{scheme}://{host}{f'/{path}' if path else ''}" if known else f"{scheme}://{HIDDEN}"
        parameters = tuple(parse_qsl(query, keep_blank_values=True))
        host, path = (host, path) if known else ("", "")
        return cls(text, place, scheme, host, path, unquote(user), unquote(password), parameters)

    @property
    def hostname(self) -> str:
        """The host without its port, as it was given."""
        return re.sub(r":\d*$", "", self.host).strip("[]")

    @property
    def port(self) -> str:
        """The digits behind the host; empty where there are none."""
        found = re.search(r":(\d*)$", self.host)
        return found[1] if found else ""

    @property
    def is_certain(self) -> bool:
        """Whether the parts are unambiguous."""
        return not self.place.endswith(HIDDEN)

    @property
    def holds_credentials(self) -> bool:
        """Whether a user, a password or the like is part of the address."""
        secret = any(_SECRET.search(name) for name, _ in self.parameters)
        return secret or (not self.is_file and "@" in self.text.partition("?")[0])

    @property
    def is_web(self) -> bool:
        """Whether requests go over HTTP."""
        return self.scheme in ("http", "https")

    @property
    def is_file(self) -> bool:
        """Whether this is a file or folder, not a server."""
        return not self.scheme or self.scheme.partition("+")[0] in _FILES

    def clean(self, message: str) -> str:
        """Return a message on one line, without this address's credentials and those of the environment."""
        message = message.replace(self.text, self.place)
        secrets = [self.user, self.password, *(value for name, value in self.parameters if _SECRET.search(name))]
        rest = self.text.partition("://")[2]
        if not self.is_file and "@" in rest:
            # As they were given: decoding a password that was not encoded changes it.
            given = rest.rpartition("@")[0]
            secrets += [given, *given.partition(":")[::2]]
        if self.scheme and not self.is_certain:
            secrets += [part for part in re.split(r"[:/@?#&=]", rest) if part]
        return clean(message, secrets)


def hide_credentials(text: str, addresses: Iterable[str]) -> str:
    """Return a text of several lines, such as a traceback, without the credentials of some addresses.

    Args:
        text: may hold them in any spelling; its lines and their indentation stay.
        addresses: such as the values of variables; empty ones are none.
    """
    parsed = [Address.parse(address) for address in addresses if address]
    lines = []
    for line in text.split("\n"):
        cleaned = line.strip()
        for address in parsed if cleaned else ():
            cleaned = address.clean(cleaned)
        lines.append(line[: len(line) - len(line.lstrip())] + cleaned)
    return "\n".join(lines)


def clean(message: str, secrets: Iterable[str] = ()) -> str:
    """Return a message on one line, without secrets, raw or percent-encoded, and without credentials in addresses.

    Args:
        message: such as a driver's.
        secrets: in addition to the credentials that the environment holds.
    """
    known = [*secrets, *(os.environ.get(name, "") for name in _VARIABLES)]
    spellings = {
        spelling
        for secret in known
        if secret
        for spelling in (
            secret,
            unquote(secret),
            unquote_plus(secret),
            quote(secret, safe=""),
            quote(secret),
            quote_plus(secret),
        )
    }
    # The longest first: a password may contain the user's name.
    for spelling in sorted(spellings, key=lambda text: (-len(text), text)):
        pattern = re.escape(spelling)
        if len(spelling) < _WORD_LENGTH:
            pattern = rf"(?<![\w]){pattern}(?![\w])"
        message = re.sub(pattern, HIDDEN, message)
    # Addresses of other servers, such as one that a server answers with.
    message = re.sub(r"://[^\s/@'\"]*@", "://", message)
    return " ".join(message.split())

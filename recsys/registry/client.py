"""Requests to an MLflow store: limited in time, repeated where that is safe, with errors that hold no credentials."""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from recsys.dataset.raw.deadline import answer
from recsys.storage.addresses import Address

logger = logging.getLogger(__name__)

# Seconds for a request, and for repeating one that failed at once, such as while a server restarts.
_TIMEOUT = 20
_PATIENCE = 8.0
_LIMITS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": str(_TIMEOUT),
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "PGCONNECT_TIMEOUT": "10",
}
# They move files, and may take as long as that takes; each step over the network is limited.
_TRANSFERS = ("log_artifact", "log_artifacts", "log_text", "log_dict", "log_model_artifacts", "download_artifacts")
# A request whose reply was lost may have been carried out; repeating these would create a second one.
_CREATES = "create_"
_DENIED = {
    "401": re.compile(r"\b401\b|UNAUTHENTICATED|CUSTOMER_UNAUTHORIZED"),
    "403": re.compile(r"\b403\b|PERMISSION_DENIED"),
}
_BROKEN = re.compile(
    r"failed with (timeout )?exception|too many 5\d\d error responses|Connection (refused|aborted|reset)|Max retries|"
    r"connection failed|server closed the connection|has not answered for|terminating connection|timed out",
    re.IGNORECASE,
)

_lock = threading.Lock()
_users = 0
_replaced: dict[str, str | None] = {}


@contextmanager
def time_limits() -> Iterator[None]:
    """Limit MLflow's requests, and connecting to PostgreSQL, while the block runs, in all threads.

    Limits that the user set stay.
    """
    global _users
    with _lock:
        if _users == 0:
            _replaced.update({name: os.environ.get(name) for name in _LIMITS})
            for name, limit in _LIMITS.items():
                os.environ.setdefault(name, limit)
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                for name, value in _replaced.items():
                    if value is None:
                        os.environ.pop(name, None)
                _replaced.clear()


def _user_sets_repetitions() -> bool:
    with _lock:
        name = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
        return (_replaced.get(name) if _users else os.environ.get(name)) is not None


def is_broken(error: Exception) -> bool:
    """Return whether an error means that the server did not answer, not that it answered with an error."""
    return _BROKEN.search(str(error)) is not None


def is_forbidden(error: MlflowException) -> bool:
    """Return whether a server that knows the user does not permit the request (403)."""
    return _DENIED["403"].search(f"{error.error_code} {error}") is not None


def explain(address: Address, error: Exception) -> str:
    """Return why a request failed, on one line, with the next step where credentials are missing or refused."""
    reason = address.clean(str(error) or type(error).__name__)
    code = str(getattr(error, "error_code", ""))
    if address.is_file and address.scheme:
        # No server answered: a 403 in the message is part of a path.
        return reason[:500]
    user = "; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
    if _DENIED["401"].search(f"{code} {reason}"):
        return f"the server rejects the credentials (401){user}"
    if _DENIED["403"].search(f"{code} {reason}"):
        return f"the server does not allow this user to do that (403){user} of a user with permission"
    return reason[:500]


class StoreClient(MlflowClient):  # type: ignore[misc]
    """MLflow's client with every public method limited in time; each failure is an `MlflowException` without secrets.

    Attributes:
        broken: the last request got no answer.
    """

    def __init__(self, address: Address) -> None:
        self.broken = False
        self._address = address
        # A database is connected to at once.
        with time_limits():
            self._answer("connect", partial(super().__init__, address.text, address.text))

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if name.startswith("_") or not callable(value):
            return value
        return partial(self._request, name, value)

    def _request(self, name: str, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        started, pause = time.monotonic(), 0.5
        # The user who sets a number of repetitions gets exactly these.
        repeatable = not name.startswith(_CREATES) and not _user_sets_repetitions()
        with time_limits():
            while True:
                try:
                    result = self._answer(name, partial(call, *args, **kwargs))
                except MlflowException as error:
                    self.broken = is_broken(error)
                    waited = time.monotonic() - started + pause
                    if not (self.broken and repeatable and self._address.is_web and waited < _PATIENCE):
                        raise
                    logger.debug("MLflow store %s: no answer to %s; trying again", self._address.place, name)
                    time.sleep(pause)
                    pause *= 2
                else:
                    self.broken = False
                    return result

    def _answer(self, name: str, call: Callable[[], Any]) -> Any:
        try:
            # A file answers; a database, and a server that sends a byte now and then, have to be watched.
            if self._address.is_file or name in _TRANSFERS:
                return call()
            return answer(self._address.place, call, _TIMEOUT)
        except MlflowException as error:
            cleaned = MlflowException(self._address.clean(error.message), error_code=_code(error))
            raise cleaned from error
        # What MLflow lets through: of SQLAlchemy, of requests, of drivers, and of the parser of a reply.
        except Exception as error:
            raise MlflowException(self._address.clean(str(error) or type(error).__name__)) from error


def _code(error: MlflowException) -> int:
    from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, ErrorCode

    values: dict[str, int] = dict(ErrorCode.items())
    return values.get(error.error_code, INTERNAL_ERROR)

"""`recsys copy-version`: a version from one MLflow store to another, such as from staging to production."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recsys.config import Config
from recsys.errors import ArtifactError, ConfigError, RegistryError
from recsys.progress import log_stage, logger
from recsys.registry.copying import FetchedVersion, fetch_version, find_copy, register_copy
from recsys.registry.promotion_log import Entry, PromotionLog
from recsys.registry.tracking import Store, connect
from recsys.registry.versions import BUNDLE, CHAMPION, Version, find_number, is_complete, need_version
from recsys.serving.bundle import Bundle

TARGET = "RECSYS_TARGET_TRACKING_URI"
_STORE = "MLFLOW_TRACKING_URI"


@dataclass(frozen=True)
class Copied:
    """A version and its copy.

    Attributes:
        model: name of the registered model.
        version: number in the source.
        source: address of the source, without password.
        copy: number in the target.
        target: address of the target, without password.
        bundle: hash of the bundle in both.
        existed: the target had the copy already.
    """

    model: str
    version: str
    source: str
    copy: str
    target: str
    bundle: str
    existed: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON has them."""
        return asdict(self)


def copy_version(config: Config, home: Path, number: str | None, to_home: Path | None) -> Copied:
    """Copy a version to another store, where it becomes the challenger.

    Bundles are copied byte for byte and checked at both ends; tags, parameters, metrics and files of the run are
    copied. The log of the target gets a `copy` entry with the origin and the entry that promoted the version there. A
    version that was copied before is not copied again.

    Args:
        config: names the model and the experiment, in both stores.
        home: of the source; its copy of the log keeps the target's log too.
        number: of the version; None: the champion.
        to_home: home whose own MLflow store is the target; None: the environment variable names the target.

    Raises:
        ConfigError: no target, two targets, or the source is the target.
        RegistryError: there is no such version, or a store does not answer.
        ArtifactError: the version's bundle was tampered with, or cannot be read by this version of recsys.
    """
    target_uri = _find_target(to_home)
    source, name = connect(home, config), config.model_name
    version = _find_source(source, name, number)
    promoted = _find_promotion(PromotionLog.open(source, home, name), version.number)
    with log_stage("copy") as done, fetch_version(source, version) as fetched:
        _check_readable(fetched)
        # MLflow keeps one current store; the source was read to the end.
        with _environment(_STORE, target_uri):
            target = connect(to_home or home, config)
            if target.uri == source.uri:
                raise ConfigError(
                    f"copy-version: {source.place} is both the source and the target; choose another target"
                )
            existing = find_copy(target, name, fetched)
            copy = existing or register_copy(target, name, fetched)
            log = PromotionLog.open(target, to_home or home, name)
            _record(log, fetched, copy, promoted)
        done(f"version {version.number} of {source.place} is version {copy.number} of {target.place}")
    return Copied(name, version.number, source.place, copy.number, target.place, fetched.bundle, existing is not None)


def _find_target(to_home: Path | None) -> str | None:
    given = os.environ.get(TARGET)
    if bool(given) == (to_home is not None):
        found = "both are set" if given else "neither is set"
        raise ConfigError(
            f"copy-version: the target is the environment variable {TARGET} or the home of --to-home; {found}; set "
            "one of them"
        )
    return given if to_home is None else None


def _find_source(store: Store, name: str, number: str | None) -> Version:
    if number is None:
        return need_version(store, name, CHAMPION, "name a version with --version")
    version = find_number(store, name, number)
    if version is None or not is_complete(version):
        state = "does not exist" if version is None else "is not complete"
        raise RegistryError(f"model '{name}' in {store.place}: version {number} {state}; choose another with --version")
    return version


def _find_promotion(log: PromotionLog, number: str) -> Entry | None:
    """Return the entry that promoted a version, if it was promoted."""
    promotions = (entry for entry in reversed(log.entries) if entry.action in ("promote", "force"))
    return next((entry for entry in promotions if entry.to_version == number), None)


def _check_readable(fetched: FetchedVersion) -> None:
    """Load the bundle as the target's nights will.

    Raises:
        ArtifactError: another version of recsys wrote it; the message says what can read it.
    """
    name, number = fetched.version.name, fetched.version.number
    try:
        Bundle.load(fetched.model / "artifacts" / BUNDLE)
    except ArtifactError as error:
        raise ArtifactError(
            f"model '{name}' version {number}: this version of recsys cannot read its bundle ({error}); "
            f"mlflow.pyfunc.load_model('models:/{name}/{number}') reads it, with the code that was logged with it; "
            "it is not copied"
        ) from error


def _record(log: PromotionLog, fetched: FetchedVersion, copy: Version, promoted: Entry | None) -> None:
    """Write the entry of a copy, unless a copy that was interrupted before its end has written it."""
    if any(entry.action == "copy" and entry.to_version == copy.number for entry in log.entries):
        return
    version = fetched.version
    origin: dict[str, Any] = {
        "store": fetched.place,
        "version": version.number,
        "run": version.run_id,
        "bundle": fetched.bundle,
    }
    if promoted:
        fields = ("number", "action", "who", "host", "reason", "hash")
        origin["entry"] = {field: getattr(promoted, field) for field in fields} | {"time": promoted.time.isoformat()}
    log.append(
        "copy",
        to_version=copy.number,
        reason=f"copied from version {version.number} of {fetched.place}",
        snapshot=version.tags.get("snapshot"),
        details={"origin": origin},
    )
    logger.info("copy-version: entry in the %s", log.place)


@contextmanager
def _environment(name: str, value: str | None) -> Iterator[None]:
    """Set or remove an environment variable while the block runs."""
    before = os.environ.get(name)
    try:
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before

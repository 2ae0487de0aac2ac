"""`recsys canary`: a share of the users gets the lists of another version."""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recsys.artifacts.recommendations import read_pointer
from recsys.artifacts.replaced_lists import CANARY
from recsys.config import Config
from recsys.errors import ArtifactError, ConfigError, RegistryError
from recsys.pipelines.compare import load_bundle
from recsys.pipelines.republish import republish_lists
from recsys.progress import format_count, logger
from recsys.registry.champion import settle
from recsys.registry.promotion_log import Canary, Entry, PromotionLog
from recsys.registry.tracking import Store, connect
from recsys.registry.versions import BUNDLE, CHALLENGER, CHAMPION, Version, find_version, need_number, need_version
from recsys.serving.bundle import Bundle
from recsys.storage.folders import read_manifest
from recsys.storage.home import list_folder
from recsys.storage.locks import lock

_NEXT_STEP = "stop the canary with 'recsys canary --stop', then run again"


@dataclass(frozen=True)
class PublishedCanary:
    """The canary in the lists that readers see.

    Attributes:
        run_date: YYYY-MM-DD.
        version: of the challenger.
        users: who got its lists.
        all_users: with lists.
    """

    run_date: str
    version: str
    users: int
    all_users: int

    def describe(self) -> str:
        """Return how many users have whose lists."""
        users = format_count(self.all_users, "user")
        return f"{self.users:,} of {users} have lists of version {self.version}"


@dataclass(frozen=True)
class CanaryState:
    """What `recsys canary` shows.

    Attributes:
        model: name of the registered model.
        canary: the running one; None: there is none.
        entry: of the log, that started it or changed its share last.
        published: the canary in the lists that readers see; None: they are the champion's for every user.
    """

    model: str
    canary: Canary | None
    entry: Entry | None
    published: PublishedCanary | None


@dataclass(frozen=True)
class StoppedCanary:
    """What `recsys canary --stop` did.

    Attributes:
        canary: that was running; None: there was none, and nothing was done.
        published: the canary in the lists that readers still see; None: they are the champion's for every user.
        republished: run date for which the champion's lists for every user were kept, and are published again.
    """

    canary: Canary | None
    published: PublishedCanary | None
    republished: str | None


def show_canary(config: Config, home: Path) -> CanaryState:
    """Return the running canary and the one in the published lists.

    Raises:
        RegistryError: the store does not answer, or the promotion log is broken.
    """
    store = connect(home, config)
    log = PromotionLog.open(store, home, config.model_name, read_only=True)
    canary = log.canary
    started = [entry for entry in log.entries if canary and entry.action == "canary"]
    return CanaryState(log.model, canary, started[-1] if started else None, find_published_canary(home))


def start_canary(config: Config, home: Path, share: float, number: str | None = None) -> Canary:
    """Give a share of the users the lists of another version, from the next night on.

    The share of a running canary can be changed; its users stay in it as far as the new share allows.

    Args:
        config: names the model.
        home: holds a copy of the promotion log.
        share: of the users, above 0 and below 1.
        number: of the version; None: the challenger.

    Raises:
        ConfigError: the share is not between 0 and 1.
        RegistryError: there is no champion or no such version, the version is the champion, or another canary is
            running.
        ArtifactError: the bundle of the version is damaged, or another process is promoting or rolling back.
    """
    if not (math.isfinite(share) and 0 < share < 1):
        raise ConfigError(f"--share {share:g}: expected a share of the users above 0 and below 1, such as 0.05")
    store, name = connect(home, config), config.model_name
    with lock(home, "promotion"):
        log = PromotionLog.open(store, home, name)
        settle(store, log)
        version = _choose_version(store, name, number)
        running = log.canary
        if running and running.version != version.number:
            raise RegistryError(
                f"canary of '{name}': a canary of version {running.version} is running; stop it first with "
                "'recsys canary --stop'"
            )
        if running and running.share == share:
            return running
        # A version that cannot serve is found now, not at night.
        load_bundle(store, version, BUNDLE)
        canary = replace(running, share=share) if running else Canary(version.number, share, secrets.token_hex(8))
        details = {"share": canary.share, "key": canary.key}
        reason = f"{share:.4g} of the users get version {version.number}"
        log.append("canary", to_version=version.number, reason=reason, details=details)
    logger.info("canary: '%s' %s, from the next night on", name, reason)
    return canary


def stop_canary(config: Config, home: Path) -> StoppedCanary:
    """End the canary; from the next night on, every user gets the champion's lists.

    Where the lists that readers see hold a canary, and the champion's lists for every user of that night are kept,
    these are published again at once.

    Raises:
        RegistryError: the store does not answer, or the promotion log is broken.
        ArtifactError: the kept lists are damaged, or an output cannot be written; the canary is stopped.
    """
    store, name = connect(home, config), config.model_name
    log = PromotionLog.open(store, home, name)
    canary, republished = log.canary, None
    if canary is None:
        return StoppedCanary(None, find_published_canary(home), None)
    log.append(
        "canary_stop", to_version=canary.version, reason=f"version {canary.version} is no longer served to any user"
    )
    logger.info("canary: '%s' version %s is stopped", name, canary.version)
    champion = find_version(store, name, CHAMPION)
    if champion and find_published_canary(home):
        try:
            republished = republish_lists(config, home, champion.number)
        except ArtifactError as error:
            raise ArtifactError(f"the canary is stopped, but the published lists still contain it: {error}") from error
    return StoppedCanary(canary, find_published_canary(home), republished)


def find_canary(store: Store, home: Path, champion: Version) -> Canary | None:
    """Return the canary of tonight's lists; None where there is none or its version serves every user.

    A log that cannot be read is a warning: then the champion makes the lists of every user.
    """
    try:
        canary = PromotionLog.open(store, home, champion.name).canary
    except RegistryError as error:
        logger.warning("%s; every user gets the champion's lists", error)
        return None
    return canary if canary and canary.version != champion.number else None


def load_canary(store: Store, name: str, canary: Canary) -> tuple[Version, Bundle]:
    """Fetch the bundle of a canary, check its hashes and load it.

    Raises:
        RegistryError: the version was deleted or cannot be fetched.
        ArtifactError: the bundle is damaged.
    """
    version = need_number(store, name, canary.version, _NEXT_STEP)
    try:
        return version, load_bundle(store, version, BUNDLE)
    except (RegistryError, ArtifactError) as error:
        raise type(error)(f"canary of version {version.number}: {error}; or {_NEXT_STEP}") from error


def find_published_canary(home: Path) -> PublishedCanary | None:
    """Return the canary in the lists that readers see; None where there is none or they cannot be read."""
    try:
        run_date = read_pointer(home)
        if run_date is None:
            return None
        manifest: dict[str, Any] = read_manifest(list_folder(home, run_date), "")
    except ArtifactError:
        return None
    if CANARY not in manifest:
        return None
    users = manifest["variants"]["challenger"]["counts"]["users"]
    return PublishedCanary(run_date, manifest[CANARY]["model_version"], users, manifest["counts"]["users"])


def _choose_version(store: Store, name: str, number: str | None) -> Version:
    champion = need_version(store, name, CHAMPION, "run 'recsys train' and 'recsys promote' first")
    if number is None:
        version = need_version(store, name, CHALLENGER, "run 'recsys train' first, or choose a version with --version")
    else:
        version = need_number(store, name, number, "choose another with --version")
    if version.number == champion.number:
        raise RegistryError(
            f"canary of '{name}': version {version.number} is the champion, which all other users get; choose another "
            "version with --version"
        )
    return version

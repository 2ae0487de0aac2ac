"""`recsys rollback`: back to an earlier champion, and to its lists."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from recsys.artifacts.recommendations import find_followed
from recsys.config import Config
from recsys.errors import RecsysError, RegistryError
from recsys.pipelines.republish import republish_lists
from recsys.progress import logger
from recsys.registry.champion import follow, settle
from recsys.registry.promotion_log import Entry, PromotionLog
from recsys.registry.pruned import refuse_pruned
from recsys.registry.tracking import Store, connect
from recsys.registry.versions import CHAMPION, Version, find_number, is_complete
from recsys.storage.locks import lock


@dataclass(frozen=True)
class RolledBack:
    """What serves after `rollback`.

    Attributes:
        version: number of the champion.
        replaced: number of the version that served before; None: the alias was missing.
        entry: of the log; None: the version was the champion already.
        run_date: YYYY-MM-DD of the lists that readers see; None: none are published.
        republished: whether those are now the lists of `version`.
    """

    version: str
    replaced: str | None
    entry: Entry | None
    run_date: str | None
    republished: bool


def rollback(config: Config, home: Path, to: str | None = None) -> RolledBack:
    """Return to an earlier version, and publish its lists again for the date that readers see.

    The version that is left loses the alias `challenger`, and `recsys promote` refuses it from now on.

    Args:
        config: names the model.
        home: the folder of lists, the default MLflow store and the copy of the log.
        to: number of the version; None: the champion before the present one. A rollback that was interrupted is
            finished instead, so that a repeated command does not go one version further.

    Raises:
        RegistryError: there is no champion, none before it, the version does not exist, or its files were pruned; or
            another process changed the champion meanwhile.
        ArtifactError: another process is promoting or rolling back in this home.
    """
    store = connect(home, config)
    name = config.model_name
    with lock(home, "promotion"):
        log = PromotionLog.open(store, home, name)
        serving, finished = settle(store, log, allow_deleted=to is not None)
        if finished and finished.action == "rollback" and to in (None, finished.to_version):
            done: Entry | None = finished
        elif to is not None and to == serving.number:
            done = None
        else:
            target = _find_target(store, log, to)
            reason = _explain(serving.number, target.number)
            anchor, spent = log.find_budget(target.number)
            log.append("rollback", to_version=target.number, reason=reason, anchor=anchor, spent=spent)
            done = follow(store, log)
        version = done.to_version if done and done.to_version else serving.number or ""
        republished = _publish_again(config, home, version)
        if done:
            log.confirm(done)
    if done:
        logger.info("rollback: '%s' %s", name, done.reason)
    return RolledBack(version, done.from_version if done else None, done, find_followed(home).run_date, republished)


def _find_target(store: Store, log: PromotionLog, to: str | None) -> Version:
    number = to or log.previous_champion
    if number is None and log.champion is None:
        raise RegistryError(
            f"model '{log.model}' in {store.place}: no version has the alias '{CHAMPION}', because no version was "
            "ever promoted"
        )
    if number is None:
        raise RegistryError(f"{log.place}: there is no champion before version {log.champion} to roll back to")
    version = find_number(store, log.model, number)
    if version is None or not is_complete(version):
        state = "does not exist" if version is None else "is not complete"
        known = dict.fromkeys(entry.to_version for entry in log.entries if entry.to_version)
        raise RegistryError(
            f"model '{log.model}' in {store.place}: version {number} {state}; choose another with --to N (the log has "
            f"{', '.join(known) or 'none'})"
        )
    refuse_pruned(store, log.model, number, version.tags)
    return version


def _explain(replaced: str | None, version: str) -> str:
    if replaced is None:
        return f"alias '{CHAMPION}' set again to version {version}"
    return f"rolled back from version {replaced} to version {version}"


def _publish_again(config: Config, home: Path, version: str) -> bool:
    """Publish the version's lists for the date that readers see; a failure is a warning, for the alias has moved."""
    try:
        return republish_lists(config, home, version) is not None
    except RecsysError as error:
        logger.warning("rollback: the lists of version %s are not published again: %s", version, error)
        return False

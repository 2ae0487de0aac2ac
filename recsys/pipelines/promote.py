"""`recsys promote`: the gate's answer on the challenger, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recsys.config import Config
from recsys.errors import ConfigError, RecsysError, Refused, RegistryError
from recsys.pipelines.compare import load_bundle
from recsys.pipelines.judgement import judge_challenger
from recsys.progress import logger
from recsys.registry.champion import compare_with_alias, find_missing_champion, follow, settle
from recsys.registry.gate.decision import Decision
from recsys.registry.promotion_log import Entry, PromotionLog
from recsys.registry.tracking import Store, connect
from recsys.registry.versions import BUNDLE, CHALLENGER, CHAMPION, Version, find_number, find_version, need_version
from recsys.serving.bundle import Bundle
from recsys.storage.locks import lock

_TRAIN_FIRST = "run 'recsys train' first"


@dataclass(frozen=True)
class Judged:
    """The gate's answer on the challenger, before anything was changed.

    Attributes:
        version: the challenger, or the champion where there is no challenger.
        champion: what serves; None: nothing yet.
        decision: of the gate; None: it was not asked.
        reason: one sentence.
        promotable: whether `promote` would succeed.
        anchor: that the challenger was compared with, or would have been; None: nothing serves yet.
    """

    version: Version
    champion: Version | None
    decision: Decision | None
    reason: str
    promotable: bool
    anchor: Version | None = None


@dataclass(frozen=True)
class Promoted:
    """The champion after `promote`.

    Attributes:
        version: the champion.
        reason: why, in one sentence.
        decision: of the gate; None: it was not asked, because the version was the champion already, or because the
            comparison failed and the promotion was forced.
        entry: of the log; None: nothing was changed.
    """

    version: Version
    reason: str
    decision: Decision | None
    entry: Entry | None


class NotPromoted(Refused):
    """The challenger was not promoted.

    Attributes:
        decision: of the gate; None: it was not asked.
    """

    def __init__(self, message: str, decision: Decision | None = None) -> None:
        """Keep the decision, so that its table can be shown."""
        super().__init__(message)
        self.decision = decision


def judge(config: Config, home: Path) -> Judged:
    """Return what `promote` would answer now, and change nothing.

    Raises:
        RegistryError: there is no challenger and no champion, the alias `champion` was deleted, or the log is damaged.
        Refused: the versions cannot be compared.
    """
    store = connect(home, config)
    log = PromotionLog.open(store, home, config.model_name, read_only=True)
    serving = compare_with_alias(store, log)
    problem = serving.describe()
    if problem and serving.state == "deleted":
        raise RegistryError(f"{log.place}: {problem}")
    if problem:
        logger.warning("%s: %s", log.place, problem)
    return _judge(config, home, store, log, serving.version)


def promote(config: Config, home: Path, *, why: str | None = None) -> Promoted:
    """Promote the challenger if it passes the gate.

    The answer is one entry of the promotion log, also a refusal. The entry is written first, then the alias moves: if
    the process dies in between, the next call finishes the promotion.

    Args:
        config: names the model; its registry section sets the gate.
        home: the folder of snapshots, the default MLflow store and the copy of the log.
        why: promote even if the gate refuses, for this reason, which is kept for ever.

    Raises:
        NotPromoted: the gate refused the challenger, or it was rolled back before.
        Refused: the versions cannot be compared.
        RegistryError: there is no challenger; the alias `champion` was deleted by hand; or another process changed the
            champion meanwhile, and its entry is named.
        ConfigError: the reason of a forced promotion is empty.
        ArtifactError: another process is promoting or rolling back in this home.
    """
    if why is not None and not why.strip():
        raise ConfigError("promote --force: the reason is empty; state it with --why TEXT")
    store = connect(home, config)
    name = config.model_name
    with lock(home, "promotion"):
        log = PromotionLog.open(store, home, name)
        serving, _ = settle(store, log)
        if why is not None:
            entry, judged = _force(config, home, store, log, serving.version, why)
        else:
            judged = _judge_or_record(config, home, store, log, serving.version)
            if judged.promotable and judged.decision is None:
                # A repeated task must succeed again.
                return Promoted(judged.version, judged.reason, None, None)
            entry = _append(log, judged, "promote" if judged.promotable else "refuse", judged.reason)
            if not judged.promotable:
                raise NotPromoted(f"promote '{name}' {_explain_refusal(judged, entry)}", judged.decision)
        _finish(store, log)
    logger.info("promote: '%s' version %s is the champion: %s", name, judged.version.number, entry.reason)
    return Promoted(judged.version, entry.reason, judged.decision, entry)


def load_champion(config: Config, home: Path) -> tuple[Version, Bundle]:
    """Fetch the champion's bundle, check its hashes and load it.

    Raises:
        RegistryError: there is no champion; where the log knows one, the message says how to set its alias again.
    """
    store = connect(home, config)
    next_step = "run 'recsys train' and 'recsys promote' first"
    if find_version(store, config.model_name, CHAMPION) is None:
        next_step = find_missing_champion(store, home, config.model_name) or next_step
    version = need_version(store, config.model_name, CHAMPION, next_step)
    return version, load_bundle(store, version, BUNDLE)


def name_window(version: Version) -> str:
    """Return the key that tries on one test window are counted by."""
    start, end = (version.tags.get(tag, "") for tag in ("test_start", "test_end"))
    clocked = f"{start}..{end}" if start else f"snapshot {version.tags.get('snapshot', '')}"
    return f"{version.tags.get('protocol', '')} {clocked}".strip()


def _judge_or_record(config: Config, home: Path, store: Store, log: PromotionLog, champion: Version | None) -> Judged:
    """Return the gate's answer; that no comparison is possible is a refusal, and an entry too."""
    try:
        return _judge(config, home, store, log, champion)
    except Refused as refusal:
        challenger = find_version(store, log.model, CHALLENGER)
        if challenger:
            snapshot = challenger.tags.get("snapshot")
            log.append("refuse", to_version=challenger.number, reason=str(refusal), snapshot=snapshot)
        raise


def _judge(config: Config, home: Path, store: Store, log: PromotionLog, champion: Version | None) -> Judged:
    name = config.model_name
    challenger = find_version(store, name, CHALLENGER)
    if challenger is None and champion is not None:
        return _judge_without_challenger(store, log, champion)
    challenger = need_version(store, name, CHALLENGER, _TRAIN_FIRST)
    if champion is not None and champion.number == challenger.number:
        return _already(champion)
    rolled_back = log.was_rolled_back(challenger.number)
    if rolled_back:
        return Judged(challenger, champion, None, _explain_rollback(rolled_back), promotable=False)
    anchor = _find_anchor(store, log, champion)
    decision = _ask_gate(config, home, store, log, challenger, champion, anchor)
    return Judged(challenger, champion, decision, decision.sentence, decision.promoted, anchor)


def _judge_without_challenger(store: Store, log: PromotionLog, champion: Version) -> Judged:
    """Return the answer after the challenger was promoted, or rolled back."""
    head = log.head
    if head and head.action == "rollback" and head.from_version:
        left = find_number(store, log.model, head.from_version)
        if left is not None:
            return Judged(left, champion, None, _explain_rollback(head), promotable=False)
    return _already(champion)


def _already(champion: Version) -> Judged:
    reason = f"version {champion.number} is already the champion"
    return Judged(champion, champion, None, reason, promotable=True)


def _explain_rollback(entry: Entry) -> str:
    return (
        f"version {entry.from_version} was rolled back (entry {entry.number}, {entry.author}); train another version, "
        "or promote it with --force --why TEXT"
    )


def _ask_gate(
    config: Config,
    home: Path,
    store: Store,
    log: PromotionLog,
    challenger: Version,
    champion: Version | None,
    anchor: Version | None,
) -> Decision:
    window = name_window(challenger)
    return judge_challenger(
        config,
        home,
        store,
        challenger,
        champion,
        anchor,
        spent=log.spent,
        tries=log.count_tries(window, besides=challenger.number),
    )


def _find_anchor(store: Store, log: PromotionLog, champion: Version | None) -> Version | None:
    """Return the version of the anchor; before the log has one, or after it was deleted, the champion."""
    if champion is None or log.anchor is None or log.anchor == champion.number:
        return champion
    anchor = find_number(store, log.model, log.anchor)
    if anchor is None:
        logger.warning(
            "%s: the anchor, version %s, no longer exists; the champion takes its place", log.place, log.anchor
        )
    return anchor or champion


def _force(
    config: Config, home: Path, store: Store, log: PromotionLog, champion: Version | None, why: str
) -> tuple[Entry, Judged]:
    """Promote the challenger, or the version that was rolled back last, whatever the gate says."""
    challenger = _find_forced(config, store, log, champion)
    anchor, decision = _find_anchor(store, log, champion), None
    try:
        decision = _ask_gate(config, home, store, log, challenger, champion, anchor)
        answer = decision.sentence
    except RecsysError as error:
        answer = f"no comparison was possible ({error})"
    judged = Judged(challenger, champion, decision, answer, promotable=True, anchor=anchor)
    if decision and decision.promoted and not log.was_rolled_back(challenger.number):
        logger.info("promote: the gate passes version %s, so nothing is forced", challenger.number)
        return _append(log, judged, "promote", answer), judged
    reason = " ".join(why.split())
    return _append(log, judged, "force", f"{reason} (the gate: {answer})", why=reason), judged


def _find_forced(config: Config, store: Store, log: PromotionLog, champion: Version | None) -> Version:
    name = config.model_name
    challenger = find_version(store, name, CHALLENGER)
    head = log.head
    if challenger is None and head and head.action == "rollback" and head.from_version:
        challenger = find_number(store, name, head.from_version)
    elif challenger is None or (champion and challenger.number == champion.number):
        raise RegistryError(
            f"promote '{name}' --force: there is no version to promote; {_TRAIN_FIRST}, or use 'recsys rollback --to N'"
        )
    return challenger or need_version(store, name, CHALLENGER, _TRAIN_FIRST)


def _append(log: PromotionLog, judged: Judged, action: Any, reason: str, **details: str) -> Entry:
    """Write the gate's answer into the log, with the anchor and the budget after it."""
    version, decision = judged.version, judged.decision
    anchor, spent = judged.anchor.number if judged.anchor else log.anchor, log.spent
    if action != "refuse":
        if anchor is None or (decision and decision.new_anchor):
            anchor, spent = version.number, 0.0
        elif decision:
            spent = max(0.0, spent + decision.spent)
    return log.append(
        action,
        to_version=version.number,
        reason=reason,
        decision=decision.to_dict() if decision else None,
        snapshot=version.tags.get("snapshot"),
        anchor=anchor,
        spent=spent,
        window=name_window(version) if decision else None,
        details=details,
    )


def _finish(store: Store, log: PromotionLog) -> None:
    log.confirm(follow(store, log))


def _explain_refusal(judged: Judged, entry: Entry) -> str:
    return f"version {judged.version.number}: refused: {judged.reason} (entry {entry.number})"

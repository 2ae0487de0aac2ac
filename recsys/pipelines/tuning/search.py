"""`recsys tune`: a search over settings for quality and run time, which never sees the test window."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from sqlalchemy.exc import SQLAlchemyError

from recsys.artifacts.snapshots import Snapshot, read_snapshot
from recsys.config import Config
from recsys.config.overrides import apply_settings, list_changes, look_up, rewrite
from recsys.dataset.windows import Window, resolve_end
from recsys.errors import ArtifactError, ConfigError, DataError
from recsys.evaluation.intervals import mean_interval
from recsys.extras import needs_extra
from recsys.pipelines.tuning.result import Trial, Tuned, Verdict, judge
from recsys.pipelines.tuning.space import Choices, Space, read_space
from recsys.pipelines.tuning.trials import Bench, Score, count_measured, find_prune_reason, split_before
from recsys.progress import format_count, progress_bar
from recsys.registry.searches import close_search, log_trial, open_search
from recsys.registry.tracking import Store, connect
from recsys.storage.files import read_parquet, replace_text, sqlite_url
from recsys.storage.home import study_database, study_folder, tuned_config_file
from recsys.storage.locks import lock
from recsys.training.splitting import split_snapshot

with needs_extra("tune", "recsys tune"):
    import optuna
    from optuna.trial import TrialState

logger = logging.getLogger(__name__)

# Trials drawn at random before the sampler learns from them; few, because searches are short.
_RANDOM_TRIALS = 8

# After this many repeated draws in a row the space counts as exhausted.
_MAX_REPEATS = 20


@dataclass(frozen=True)
class _Search:
    """Everything that a trial needs."""

    config: Config
    space: Space
    study: optuna.Study
    bench: Bench
    folder: Path
    store: Store
    run_id: str


def tune(
    source: Path, config: Config, space_path: Path, home: Path, run_date: str | None, trials: int, out: Path | None
) -> Tuned:
    """Run trials until a study has the given number, choose the winner and write it as a config file.

    Only events before the test window of a training with this run date are used. The same config, snapshot, run date
    and space give the same study, which continues where it stopped.

    Args:
        source: the config file.
        config: its content.
        space_path: YAML file of settings and ranges.
        home: the folder of snapshots, `tuning/` and the default MLflow store.
        run_date: as for `recsys train`.
        trials: total number, including those of earlier calls.
        out: file for the winner; None: `tuning/NAME.yaml` in the home.

    Raises:
        ConfigError: the space has invalid settings, or `out` is the config file.
        ArtifactError: another process is searching in this home, or files of the search cannot be read.
    """
    target = out or tuned_config_file(home, config.name)
    if target.exists() and target.samefile(source):
        raise ConfigError(f"config {source}: would be overwritten by the tuned config; choose another --out")
    text = source.read_bytes().decode("utf-8")
    space = read_space(space_path, config)
    # Check before hours of trials that these settings can be replaced in the file.
    probe = {path: setting.probes()[0] for path, setting in space.settings.items()}
    rewrite(text, str(source), apply_settings(config, probe), probe)
    with lock(home, "tuning"):
        snapshot = read_snapshot(home, config.name, config.dataset.model_dump(mode="json"))
        end = resolve_end(snapshot.interactions, run_date)
        store = connect(home, config)
        test = split_snapshot(config, snapshot, end).test
        before = test.cutoff.isoformat() if test.cutoff else ""
        search = _open(_name_study(config, snapshot, end, space), config, space, home, store, snapshot, test)
        users = " and then ".join(f"{count_measured(rung.test):,}" for rung in search.bench.rungs)
        as_of = f" before {before}" if before else ""
        logger.info(
            "search in %s: %s, measured on %s users%s", search.folder, format_count(trials, "trial"), users, as_of
        )
        with progress_bar("Trials", trials, log=False) as progress:
            _run_trials(search, trials, progress)
        ended = _read_trials(search.study)
        scores = {trial.number: _read_score(search, trial, trial.rung) for trial in ended if trial.state == "complete"}
        verdict = judge(ended, scores, config)
        changed = verdict.winner.changed
        replace_text(target, rewrite(text, str(source), apply_settings(config, changed), changed))
        _close(search, verdict, [target, space_path])
    original = {path: look_up(config, path) for path in changed}
    users_measured = scores[verdict.winner.number].users.height
    return Tuned(search.folder.name, ended, verdict, users_measured, before, original, target)


def _close(search: _Search, verdict: Verdict, files: list[Path]) -> None:
    winner = verdict.winner
    numbers = {f"tuning/{_name_metric(search.config)}": winner.quality, "seconds": winner.seconds}
    tags = {"winner": str(winner.number), "reason": verdict.reason}
    close_search(search.store, search.run_id, numbers, tags, files)


def _name_study(config: Config, snapshot: Snapshot, end: datetime | None, space: Space) -> str:
    content = f"{config.digest()} {snapshot.id} {end.isoformat() if end else ''} {space.digest()}"
    return f"{config.name}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"


def _name_metric(config: Config) -> str:
    return f"{config.evaluation.metric}_at_{config.evaluation.n}"


def _open(
    name: str, config: Config, space: Space, home: Path, store: Store, snapshot: Snapshot, test: Window
) -> _Search:
    """Open a study, new or unfinished; trials that were killed are queued again."""
    windows = split_before(test, config)
    folder = study_folder(home, name)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    database = study_database(home, config.name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        study = optuna.create_study(
            storage=optuna.storages.RDBStorage(sqlite_url(database)),
            study_name=name,
            directions=["maximize", "minimize"],
            load_if_exists=True,
        )
        known = study.get_trials()
    # Not a database, or a database of another optuna version.
    except (OSError, SQLAlchemyError, RuntimeError) as error:
        raise ArtifactError(
            f"search {name}: {database} cannot be opened ({' '.join(str(error).split())}); move it away and run again"
        ) from error
    for trial in known:
        if trial.state == TrialState.RUNNING:
            study.tell(trial.number, state=TrialState.FAIL)
            study.enqueue_trial(
                _fix(config, space) if "original" in trial.user_attrs else trial.params, trial.user_attrs
            )
            logger.info("trial %d was interrupted; its settings are queued again", trial.number)
    if not known:
        study.enqueue_trial(_fix(config, space), {"original": True})
    facts = {"snapshot": snapshot.id, "config": config.digest(), "space": space.digest()}
    run_id = open_search(store, name, facts)
    text_changes = any(path.startswith("text.") for path in space.settings)
    bench = Bench(config, snapshot.items, windows, text_changes=text_changes)
    return _Search(config, space, study, bench, folder, store, run_id)


def _run_trials(search: _Search, total: int, progress: Callable[[int], None]) -> None:
    study = search.study
    repeats = 0
    progress(min(total, len(_read_trials(study))))
    while (count := len(_read_trials(study))) < total and repeats < _MAX_REPEATS:
        known = study.get_trials(deepcopy=False)
        # Seeded by the number of draws: a search that is continued draws the same as one that was never killed.
        draws = sum("trial" in drawn.user_attrs or "repeats" in drawn.user_attrs for drawn in known)
        seed = int(np.random.SeedSequence([search.config.seed, draws]).generate_state(1)[0])
        study.sampler = optuna.samplers.TPESampler(n_startup_trials=_RANDOM_TRIALS, seed=seed)
        drawn = study.ask()
        config, changed = _draw(search, drawn)
        same = next((trial for trial in _read_trials(study) if trial.changed == changed), None)
        if same is not None:
            repeats += 1
            drawn.set_user_attr("repeats", same.number)
            study.tell(drawn, state=TrialState.FAIL)
            continue
        repeats = 0
        trial = _run_trial(search, drawn, config, changed)
        progress(1)
        remaining_seconds = _estimate_seconds(study) * (total - count - 1)
        logger.info(
            "trial %d (%d of %d): %s", trial.number, count + 1, total, _describe(trial, config, remaining_seconds)
        )
    if repeats:
        logger.info("the last %d draws were all tried before; the search ends early", repeats)


def _estimate_seconds(study: optuna.Study) -> float:
    ended = [trial for trial in study.get_trials(deepcopy=False) if "trial" in trial.user_attrs and trial.duration]
    return sum(trial.duration.total_seconds() for trial in ended if trial.duration) / max(1, len(ended))


def _draw(search: _Search, trial: optuna.Trial) -> tuple[Config, dict[str, Any]]:
    """Return the trial's config, and the settings that it changes."""
    settings = {}
    is_original = "original" in trial.user_attrs
    for path, setting in search.space.settings.items():
        if is_original and not setting.holds(look_up(search.config, path)):
            continue
        if isinstance(setting, Choices):
            label = trial.suggest_categorical(path, setting.labels)
            settings[path] = setting.choices[setting.labels.index(label)]
        elif setting.whole:
            step = int(setting.step or 1)
            settings[path] = trial.suggest_int(path, int(setting.low), int(setting.high), step=step, log=setting.log)
        else:
            drawn = trial.suggest_float(path, setting.low, setting.high, step=setting.step, log=setting.log)
            settings[path] = setting.round(drawn)
    if is_original:
        return search.config, {}
    changed = apply_settings(search.config, settings)
    return changed, list_changes(search.config, changed, settings)


def _run_trial(search: _Search, drawn: optuna.Trial, config: Config, changed: dict[str, Any]) -> Trial:
    """Run one trial; then write its values, log it to MLflow and report it to the study, in this order."""
    scores: list[Score] = []
    try:
        for rung in range(len(search.bench.rungs)):
            scores.append(search.bench.run(config, rung))
            if rung + 1 < len(search.bench.rungs):
                _prune(search, scores[-1], rung + 1)
        state, reason = TrialState.COMPLETE, ""
    except optuna.TrialPruned as pruned:
        state, reason = TrialState.PRUNED, str(pruned)
    except DataError as error:
        # A trial's settings may leave nothing to learn from or to measure; the original config must not.
        if not changed:
            raise
        state, reason = TrialState.FAIL, str(error)
    trial = _summarise(search, drawn.number, state, changed, scores, reason)
    if scores:
        rungs = [
            score.users.with_columns(pl.lit(rung, pl.UInt8).alias("rung"), pl.lit(score.seconds).alias("seconds"))
            for rung, score in enumerate(scores, 1)
        ]
        pl.concat(rungs).write_parquet(_path(search, trial.number))
    _log(search, trial)
    drawn.set_user_attr("trial", asdict(trial))
    search.study.tell(drawn, [trial.quality, trial.seconds] if state == TrialState.COMPLETE else None, state)
    return trial


def _prune(search: _Search, score: Score, rung: int) -> None:
    """Prune a trial after a rung; optuna's pruners do not support two objectives."""
    complete = [trial for trial in _read_trials(search.study) if trial.state == "complete"]
    if complete:
        scores = [_read_score(search, trial, rung) for trial in complete]
        best = max(scores, key=lambda other: float(other.values.mean()))
        reason = find_prune_reason(score, best, search.config)
        if reason:
            raise optuna.TrialPruned(reason)


def _summarise(
    search: _Search, number: int, state: TrialState, changed: dict[str, Any], scores: list[Score], reason: str
) -> Trial:
    names: dict[TrialState, Any] = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned"}
    if state == TrialState.FAIL:
        return Trial(number, "failed", changed, reason=reason)
    score, evaluation = scores[-1], search.config.evaluation
    estimate = mean_interval(score.values, evaluation.bootstrap_samples, evaluation.confidence, search.config.seed)
    values = (estimate.mean, estimate.low, estimate.high)
    return Trial(number, names[state], changed, *values, score.seconds, len(scores), reason)


def _log(search: _Search, trial: Trial) -> None:
    numbers: dict[str, float] = {}
    if trial.state != "failed":
        metric = f"tuning/{_name_metric(search.config)}"
        numbers = {metric: trial.quality, f"{metric}_low": trial.low, f"{metric}_high": trial.high}
        numbers |= {"seconds": trial.seconds, "rung": float(trial.rung)}
    tags = {"state": trial.state, "reason": trial.reason, "trial": str(trial.number)}
    log_trial(search.store, search.run_id, f"trial {trial.number}", trial.changed, numbers, tags)


def _describe(trial: Trial, config: Config, remaining_seconds: float) -> str:
    """Return a trial's result and then its settings, so that numbers are aligned in the log."""
    parts = []
    if trial.state != "failed":
        metric = f"{config.evaluation.metric}@{config.evaluation.n}"
        parts.append(f"{metric} {trial.quality:.4f} [{trial.low:.4f}, {trial.high:.4f}], {trial.seconds:.1f} s")
    if trial.reason:
        parts.append(f"{trial.state}: {trial.reason}")
    parts.append(trial.describe_changes())
    if remaining_seconds >= 90:
        parts.append(f"about {remaining_seconds / 60:.0f} min left")
    elif remaining_seconds:
        parts.append(f"about {remaining_seconds:.0f} s left")
    return "; ".join(parts)


def _read_trials(study: optuna.Study) -> list[Trial]:
    """Return the trials that ended without being killed."""
    known = study.get_trials(deepcopy=False)
    ended = [trial for trial in known if trial.state.is_finished() and "trial" in trial.user_attrs]
    return [Trial(**trial.user_attrs["trial"]) for trial in ended]


def _path(search: _Search, number: int) -> Path:
    return search.folder / f"trial-{number:04d}.parquet"


def _read_score(search: _Search, trial: Trial, rung: int) -> Score:
    path = _path(search, trial.number)
    try:
        rows = read_parquet(path).filter(pl.col("rung") == rung)
        return Score(rows.select("user_id", "value"), rows["seconds"][0])
    except (OSError, IndexError, pl.exceptions.PolarsError) as error:
        raise ArtifactError(
            f"search {search.folder.name}: values of trial {trial.number} cannot be read from {path} ({error}); "
            f"restore the file, or move {search.folder.parent} away and run the search again"
        ) from error


def _fix(config: Config, space: Space) -> dict[str, Any]:
    """Return the original config's values as the study stores them, without those outside their range."""
    values = {path: (setting, look_up(config, path)) for path, setting in space.settings.items()}
    return {
        path: setting.labels[[*setting.choices].index(value)] if isinstance(setting, Choices) else value
        for path, (setting, value) in values.items()
        if setting.holds(value)
    }

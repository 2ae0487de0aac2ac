"""`recsys train`: snapshot to a measured, refitted and registered bundle."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml
from numpy.typing import NDArray

from recsys.artifacts.runs import find_run, write_run_tables
from recsys.artifacts.snapshots import OpenSnapshot, open_snapshot
from recsys.config import Config
from recsys.dataset.windows import Windows, resolve_end
from recsys.engines import FITTING, make_engine
from recsys.errors import ConfigError
from recsys.evaluation.beyond_accuracy import churn
from recsys.evaluation.comparison import OURS, summarise
from recsys.evaluation.intervals import mean_interval
from recsys.evaluation.segments import compute_segments
from recsys.features.shift import measure_shift
from recsys.pipelines.continuation import Continuation, find_continuation
from recsys.pipelines.registration import find_kept, finish_training, keep_training
from recsys.pipelines.run_plots import draw_run
from recsys.progress import Steps, format_count, log_stage, logger
from recsys.ranking.importance import measure_importance
from recsys.registry.pages import Page, find_page
from recsys.registry.run_metrics import name_curves, name_measured, name_metrics
from recsys.registry.tracking import connect
from recsys.registry.training_run import InputData, Results, open_training
from recsys.registry.versions import Version
from recsys.serving.block_lists import BlockLists
from recsys.serving.bundle import Bundle
from recsys.storage.files import hash_text, read_parquet, replace_text, write_json, write_table
from recsys.storage.folders import sweep, write_folder
from recsys.storage.home import current_run_file, fine_tuning_folder, plotting_file, run_folder, runs_folder
from recsys.storage.identity import identify_home
from recsys.storage.locks import lock
from recsys.tables import TrainingRows
from recsys.training.encoder_fitting import fit_encoder, join_training
from recsys.training.encoder_inputs import prepare_encoder_inputs
from recsys.training.fitting import Fitted, continue_bundle, fit_bundle, refit_bundle
from recsys.training.measurement import Measured, measure
from recsys.training.rehearsal import rehearse_plugins
from recsys.training.report_samples import find_neighbours, sample_lists
from recsys.training.splitting import split_snapshot

# Of `train`: texts, training for measurement, measuring, training to serve, registration.
N_STEPS = 5


@dataclass(frozen=True)
class Trained:
    """One finished training.

    Attributes:
        run: name of the folder below `runs/`.
        version: the registered refit, alias `challenger`.
        metrics: `MetricTable` of the evaluation model.
        page: of MLflow, with the runs.
    """

    run: str
    version: Version
    metrics: pl.DataFrame
    page: Page


def train(
    config: Config, home: Path, run_date: str | None, steps: Steps | None = None, start: str | None = None
) -> Trained:
    """Fit, measure on the test window, refit with all windows moved to the end, log and register.

    Args:
        config: all settings.
        home: folder of snapshots, runs and the default MLflow store.
        run_date: the run is as of 00:00 UTC of this day; None: the day after the snapshot's last event.
        steps: of the command that the training is a part of, `N_STEPS` of them its own; None: it is the whole command.
        start: alias of the version whose text models the training continues, unless a full training is due (see
            `find_continuation`); None: it starts from the checkpoint.

    Raises:
        ConfigError: the version's text models are other ones than the config's.
        DataError: its models have seen a label window, or belong to another catalogue.
        ArtifactError: another training is running in this home.
    """
    own = Steps(N_STEPS) if steps is None else steps
    with lock(home, "training"):
        sweep(runs_folder(home))
        trained = _train(config, home, run_date, own, start)
    if steps is None:
        own.finish()
    return trained


def train_together(config: Config, home: Path, run_date: str | None, start: str | None = None) -> Trained | None:
    """Train with the other processes that torchrun started: all fine-tune, the first one does everything else.

    Returns:
        As `train`; None for all processes but the first.

    Raises:
        ConfigError: several processes were started for a training that continues, which fine-tunes nothing.
        RecsysError: another process has stopped or is stuck.
    """
    processes = join_training()
    try:
        if start and processes.size > 1:
            raise ConfigError(
                "train --from: continues in one process and fine-tunes nothing; start it without torchrun"
            )
        if processes.is_first:
            return train(config, home, run_date, start=start)
        _follow(config, home, run_date)
        return None
    finally:
        processes.close()


def _follow(config: Config, home: Path, run_date: str | None) -> None:
    """Take part in the fine-tuning of the first process: same snapshot, same batches, nothing is written."""
    snapshot, windows = _read(config, home, run_date)
    oldest = windows.measurement_fold.labels[-1]
    encoder_inputs = prepare_encoder_inputs(config, snapshot.items, oldest.cutoff)
    fit_encoder(config, encoder_inputs, oldest.known.gather(snapshot.items, oldest.cutoff))


def _read(config: Config, home: Path, run_date: str | None) -> tuple[OpenSnapshot, Windows]:
    snapshot = open_snapshot(home, config.name, config.dataset.model_dump(mode="json"))
    return snapshot, split_snapshot(config, snapshot, resolve_end(snapshot.interactions, run_date))


def _train(config: Config, home: Path, run_date: str | None, steps: Steps, start: str | None) -> Trained:
    snapshot, windows = _read(config, home, run_date)
    # A cluster that does not answer stops the training now, not after hours of fitting.
    with make_engine(config.collab.engine, config.threads, FITTING):
        store = connect(home, config)
    block_lists = BlockLists.read(config.generation.rules, snapshot.items["item_id"], config.dataset)
    earlier = None
    if start:
        earlier = find_continuation(config, home, store, start, windows.measurement_fold, snapshot.items)
    inputs = _Inputs(snapshot, windows, block_lists, earlier)
    run = _name_run(config, inputs)
    facts = _facts(config, inputs, run)
    kept = find_kept(home)
    # Write to the store before hours of fitting, not after.
    with open_training(
        store, run, config, facts, _describe_data(config, snapshot), identify_home(home), kept.values()
    ) as run_id:
        page = find_page(store)
        fitted = _fit_and_measure(config, home, run, facts, inputs, steps)
        steps.begin("registration in MLflow")
        keep_training(home, run, run_id, store, fitted.refit, fitted.evaluated, fitted.results)
        version = finish_training(config, home, store, run)
    return Trained(run, version, fitted.metrics, page)


def _describe_data(config: Config, snapshot: OpenSnapshot) -> InputData:
    interactions = snapshot.interactions
    columns = {name: _name_type(kind) for name, kind in interactions.collect_schema().items()}
    counted = interactions.select(rows=pl.len(), users=pl.col("user_id").n_unique()).collect(engine="streaming")
    counts = {**counted.row(0, named=True), "items": snapshot.items.height}
    return InputData(config.name, snapshot.id, columns, counts)


def _name_type(kind: pl.DataType) -> str:
    """Return MLflow's name of a type."""
    if kind.is_integer() or kind.is_temporal():
        return "long" if kind.is_integer() else "datetime"
    return "double" if kind.is_float() else "boolean" if kind == pl.Boolean else "string"


@dataclass(frozen=True)
class _Inputs:
    """What a training works on; `earlier` is None for a full one."""

    snapshot: OpenSnapshot
    windows: Windows
    block_lists: BlockLists
    earlier: Continuation | None


@dataclass(frozen=True)
class _Trained:
    """What was fitted and measured: the bundles, the results for MLflow and the `MetricTable`."""

    evaluated: Bundle
    refit: Bundle
    results: Results
    metrics: pl.DataFrame


def _fit_and_measure(
    config: Config, home: Path, run: str, facts: Mapping[str, str], inputs: _Inputs, steps: Steps
) -> _Trained:
    """Fit, measure, refit, and write the run's folder."""
    items, windows, test = inputs.snapshot.items, inputs.windows, inputs.windows.test
    resume = fine_tuning_folder(home, config.name)
    evaluated, zero_shot = _fit_evaluation_model(config, inputs, resume, steps)
    # From here on with the measured values of `auto` settings: the refit serves what was measured.
    config = evaluated.bundle.config
    steps.begin("measuring on the test window")
    measured = measure(evaluated.bundle, test, items, baselines=True, zero_shot=zero_shot)
    with log_stage("intervals") as done:
        tables = _summarise(config, measured, evaluated)
        done(f"{format_count(tables['metrics'].height, 'row')}, {tables['segments'].height:,} by segment")
    worst = [f"{name} {shift:.2f}" for name, shift in tables["shift"].head(3).select("feature", "shift").rows()]
    logger.info("features with the largest shift between training and test: %s", ", ".join(worst))
    choice = evaluated.bundle.ranker.choice
    # A choice that was kept has the curve of an earlier training.
    validation = [] if choice.kept else list(choice.validation.curve)
    curves = {**evaluated.text.curves, "ranker_validation_ndcg": validation}
    steps.begin("training on everything, to serve")
    refit = refit_bundle(items, windows.refit_fold, evaluated)
    for difference in refit.differences:
        logger.warning("refit: %s", difference)
    summary = _describe_measured(config, home, run, measured, evaluated, refit)
    shutil.rmtree(resume, ignore_errors=True)
    write_folder(
        run_folder(home, run),
        lambda staging: _write_run(
            staging, config, evaluated, measured.lists, tables, summary, curves, plotting_file(home)
        ),
        {**facts, "kind": "run"},
    )
    replace_text(current_run_file(home, config.name), run + "\n")
    differences = {"refit_differences": "; ".join(refit.differences)} if refit.differences else {}
    baselines = name_metrics(tables["metrics"], tables["segments"], tables["catalogue"], config.evaluation.n)
    numbers = {
        **baselines.pop(OURS),
        **name_measured(summary),
        "ranker/trees": float(refit.bundle.ranker.booster.num_trees()),
        # Timings differ from run to run, so they are not in the run's files.
        "cost/seconds_per_1000_users": measured.costs.seconds_per_1000_users,
    }
    ended = time.time_ns() // 1_000_000
    results = Results({**facts, **differences}, numbers, baselines, name_curves(curves), ended)
    return _Trained(evaluated.bundle, refit.bundle, results, tables["metrics"])


def _fit_evaluation_model(
    config: Config, inputs: _Inputs, resume: Path, steps: Steps
) -> tuple[Fitted, NDArray[np.float32] | None]:
    """Return the evaluation model, and the vectors of the catalogue for the baseline without fine-tuning.

    A training that continues does not have the encoder before fine-tuning, and leaves that baseline out.
    """
    steps.begin("texts and encoder")
    items, fold, test = inputs.snapshot.items, inputs.windows.measurement_fold, inputs.windows.test
    oldest, blocked = fold.labels[-1], inputs.block_lists
    rehearse_plugins(config, items, oldest.known.gather(items, oldest.cutoff))
    name = "training for measurement" + (f" (data to {test.cutoff.date()})" if test.cutoff else "")
    if inputs.earlier:
        steps.begin(name)
        return continue_bundle(config, items, fold, inputs.earlier.evaluated, blocked), None
    encoder_inputs = prepare_encoder_inputs(config, items, oldest.cutoff)
    steps.begin(name)
    evaluated = fit_bundle(config, items, encoder_inputs, fold, resume=resume, block_lists=blocked, last=True)
    return evaluated, encoder_inputs.zero_shot


def _summarise(config: Config, measured: Measured, evaluated: Fitted) -> dict[str, pl.DataFrame]:
    """Return the tables of a run, by their names in `Run`."""
    ledger, evaluation, ranker = measured.ledger, config.evaluation, evaluated.bundle.ranker
    model_lists = sample_lists(measured, evaluated.bundle.items["item_id"], evaluation.n)
    return {
        "metrics": summarise(measured.user_metrics, OURS, evaluation, config.seed),
        "user_metrics": measured.user_metrics,
        "segments": compute_segments(measured.segments, measured.ranks_by_model, OURS, evaluation, config.seed),
        "catalogue": measured.catalogue,
        "positives": measured.positives,
        "ledger": ledger.summarise(),
        "depths": ledger.summarise_depths(),
        "overlap": ledger.summarise_overlap(),
        "shift": measure_shift(evaluated.rows, measured.features, ranker.features),
        "importance": measure_importance(ranker, measured.features, evaluation.n, config.seed),
        "model_lists": model_lists,
        "neighbours": find_neighbours(evaluated.bundle.items["item_id"], evaluated.bundle.embeddings, model_lists),
    }


def _describe_measured(
    config: Config, home: Path, run: str, measured: Measured, evaluated: Fitted, refit: Fitted
) -> dict[str, Any]:
    """Return the results of a measurement that are not tables."""
    evaluation = config.evaluation
    losses = {name: list(_estimate(config, values)) for name, values in measured.losses.items()}
    return {
        "positives": list(measured.ledger.outcomes.items()),
        "union_recall": measured.ledger.union_recall,
        "losses": {"metric": evaluation.metric, "n": evaluation.n, **losses},
        "churn": _compare_with_last_run(config, home, run, measured.lists),
        "blend": evaluated.bundle.ranker.blend.weights,
        "ranker": evaluated.bundle.ranker.describe(),
        "encoder": evaluated.text.choice.describe() if evaluated.text.choice else None,
        "refit_differences": refit.differences,
        "curve_parts": evaluated.text.curve_parts,
        "users_without_history": measured.users_without_history,
        **({"users_not_drawn": measured.users_not_drawn} if measured.users_not_drawn else {}),
        # The seconds are logged with the MLflow run: a repeated training must leave the same bytes here.
        "fallback_share": measured.costs.fallback_share,
        "bytes_per_1000_users": measured.costs.bytes_per_1000_users,
    }


def _compare_with_last_run(config: Config, home: Path, run: str, lists: pl.DataFrame) -> dict[str, Any] | None:
    """Return the churn of the lists since the config's last training, over the users of both."""
    before = find_run(home, config.name)
    path = run_folder(home, before or "") / "lists.parquet"
    # Repeating a training must give the same bytes.
    if before is None or before == run or not path.is_file():
        return None
    changed = churn(lists, read_parquet(path), config.evaluation.n)["churn"].to_numpy()
    if not len(changed):
        return None
    mean, low, high = _estimate(config, changed)
    return {"run": before, "users": len(changed), "mean": mean, "low": low, "high": high}


def _estimate(config: Config, values: NDArray[np.float64]) -> tuple[float, float, float]:
    found = mean_interval(values, config.evaluation.bootstrap_samples, config.evaluation.confidence, config.seed)
    return found.mean, found.low, found.high


def _name_run(config: Config, inputs: _Inputs) -> str:
    """The same snapshot, settings, block lists, end and earlier model give the same name."""
    end, blocked, earlier = inputs.windows.end, inputs.block_lists, inputs.earlier
    day = end.date().isoformat() if end else "all"
    key = " ".join(
        [
            inputs.snapshot.id,
            config.digest(),
            *([] if blocked.empty else blocked.hashes()),
            *([earlier.version.tags["bundle"]] if earlier else []),
        ]
    )
    return f"{config.name}-{day}-" + hashlib.sha256(key.encode()).hexdigest()[:8]


def _facts(config: Config, inputs: _Inputs, run: str) -> dict[str, str]:
    windows, test = inputs.windows, inputs.windows.test
    return {
        "run": run,
        "snapshot": inputs.snapshot.id,
        "config": config.digest(),
        "end": windows.end.isoformat() if windows.end else "",
        "test_start": test.cutoff.isoformat() if test.cutoff else "",
        "test_end": test.end.isoformat() if test.end else "",
        "protocol": config.windows.protocol,
        "rules": _hash_rules(config, inputs.block_lists),
        "test_pairs": hashlib.sha256(test.positives.drop("events").write_csv().encode()).hexdigest()[:12],
        **(inputs.earlier.tags if inputs.earlier else {}),
    }


def _hash_rules(config: Config, block_lists: BlockLists) -> str:
    """Return the hash of what limits the measured lists: rules, block lists, length and repeats."""
    generation = config.generation
    limits = [generation.rules.model_dump(mode="json"), generation.n, config.dataset.repeats, block_lists.hashes()]
    return hash_text(json.dumps(limits, sort_keys=True))[:12]


def _write_run(
    folder: Path,
    config: Config,
    evaluated: Fitted,
    lists: pl.DataFrame,
    tables: Mapping[str, pl.DataFrame],
    measured: Mapping[str, Any],
    curves: Mapping[str, list[float]],
    cache: Path,
) -> None:
    """Write the training rows, results and plots of the run; the bundle itself goes to the registry."""
    write_table(evaluated.rows, TrainingRows, folder / "training_rows.parquet", "training rows")
    write_run_tables(folder, tables)
    lists.write_parquet(folder / "lists.parquet")
    (folder / "config.yaml").write_text(yaml.safe_dump(config.resolved(), allow_unicode=True, sort_keys=False), "utf-8")
    write_json(folder / "curves.json", curves)
    write_json(folder / "measured.json", measured)
    draw_run(folder / "plots", config, evaluated, tables, measured, curves, cache)

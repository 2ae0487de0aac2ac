"""The functions behind `import recsys`: each calls one pipeline or reads one kind of artifact.

Every function takes a config as a `Config` or as the path of its YAML file, and `home`, the folder that everything is
written to (default: the environment variable `RECSYS_HOME`, else `./data/home`). Tables come back as polars frames;
`.to_pandas()` converts them. Errors are those of `recsys.errors`.

The commands set thread counts before numerical libraries start; a Python process keeps the counts it was started with.
Set `OMP_NUM_THREADS` and `POLARS_MAX_THREADS` to `threads` of the config where bytes must equal those of a command.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from recsys.artifacts.recommendations import read_pointer, read_recommendations
from recsys.artifacts.runs import Run, read_run
from recsys.artifacts.snapshots import Snapshot, read_snapshot
from recsys.config import Config
from recsys.config import home as default_home
from recsys.config import load_config as read_config
from recsys.dataset.cleaning.ids import clean_ids
from recsys.errors import ArtifactError, ConfigError, DataError
from recsys.storage.files import read_table
from recsys.storage.home import snapshot_folder
from recsys.tables import Rejected

# Functions import torch, MLflow and LightGBM only if they need them, so reading tables is fast.
if TYPE_CHECKING:
    import pandas as pd

    from recsys.dataset.ingestion import Ingested
    from recsys.pipelines.compare import Comparison
    from recsys.pipelines.generate import Generated
    from recsys.serving.bundle import Bundle
    from recsys.text.encoder import Encoder

_TRAIN_FIRST = "run 'recsys train' first"


@dataclass(frozen=True)
class Promotion:
    """A change of champion, or the reason why none was needed.

    Attributes:
        version: number of the registered version that is champion now, as text.
        reason: one sentence with the numbers that decided.
    """

    version: str
    reason: str


def load_config(path: Path | str) -> Config:
    """Read and validate a configuration file.

    Args:
        path: a YAML file such as `configs/demo.yaml`, complete on its own.

    Returns:
        All settings, defaults included; frozen.

    Raises:
        ConfigError: there is no such file, it is not YAML, or settings are invalid; names each of them.
    """
    return read_config(path)


def ingest(config: Config | Path | str, *, accept_loss: str | None = None, home: Path | str | None = None) -> Ingested:
    """Read the raw files, set bad rows aside with the rule they broke, and write a snapshot.

    Args:
        config: its dataset section names the files and their columns.
        accept_loss: why it is right that users, items or interactions were lost; None: losses are limited.
        home: folder that the snapshot is written to.

    Returns:
        The tables `items`, `interactions` and `rejected`, `counts` per table, and a `summary`.

    Raises:
        DataError: files cannot be read, a column is missing, or too many rows break a rule.
        Refused: too much of the last good snapshot was lost; it stays the latest.
    """
    from recsys.dataset.ingestion import Ingested
    from recsys.pipelines.ingest import run_ingest

    settings = _resolve(config)
    identity, summary = run_ingest(settings, _home(home), datetime.now(UTC), accept_loss)
    made = open_snapshot(settings, snapshot=identity, home=home)
    rejected = read_rejected(settings, snapshot=identity, home=home)
    return Ingested(made.items, made.interactions, rejected, summary.rows, summary)


def open_snapshot(
    config: Config | Path | str, *, snapshot: str | None = None, home: Path | str | None = None
) -> Snapshot:
    """Read ingested data.

    Args:
        config: names the data.
        snapshot: id of an earlier snapshot; None: the config's latest.
        home: folder that holds the snapshots.

    Returns:
        The snapshot with its id and the tables `items` and `interactions`.

    Raises:
        ArtifactError: there is no snapshot, it was changed on disk, or the config's dataset section has changed since.
    """
    settings = _resolve(config)
    return read_snapshot(_home(home), settings.name, settings.dataset.model_dump(mode="json"), snapshot)


def read_rejected(
    config: Config | Path | str, *, snapshot: str | None = None, home: Path | str | None = None
) -> pl.DataFrame:
    """Read the rows that ingest set aside.

    Args:
        config: names the data.
        snapshot: id of an earlier snapshot; None: the config's latest.
        home: folder that holds the snapshots.

    Returns:
        A `Rejected` table: the raw rows with the rule that each broke.

    Raises:
        ArtifactError: as for `open_snapshot`.
    """
    opened = open_snapshot(config, snapshot=snapshot, home=home)
    path = snapshot_folder(_home(home), opened.id) / "rejected.parquet"
    return read_table(path, Rejected, f"rejected rows of snapshot {opened.id}", "run 'recsys ingest' with this config")


def train(config: Config | Path | str, *, run_date: str | None = None, home: Path | str | None = None) -> Run:
    """Fit, measure on the test window, refit on everything, and register the refit as `challenger`.

    Args:
        config: all settings; its latest snapshot is the data.
        run_date: YYYY-MM-DD; only events before 00:00 UTC of this day are used. None: the day after the last event.
        home: folder of snapshots, runs and the default MLflow store.

    Returns:
        The run: what was measured, table by table.

    Raises:
        ArtifactError: there is no snapshot, or another training holds the lock.
        DataError: a window has no history or nothing to predict.
        Refused: the run date is in the future, or long after the data.
    """
    from recsys.pipelines.plausible_dates import check_run_date
    from recsys.pipelines.train import train as train_pipeline

    settings = _resolve(config)
    check_run_date("train", settings, _home(home), run_date, datetime.now(UTC))
    return read_run(_home(home), settings.name, train_pipeline(settings, _home(home), run_date).run)


def open_run(
    config: Config | Path | str, *, run: str | None = None, alias: str | None = None, home: Path | str | None = None
) -> Run:
    """Read what a training measured.

    Args:
        config: names the runs and the model.
        run: name of a folder below `runs/` of the home; None: the config's last training.
        alias: read the training of a registered version instead, such as `champion`, from MLflow.
        home: folder of the runs and the default MLflow store.

    Returns:
        The run, with metrics, segments, candidate ledger and the other tables as attributes.

    Raises:
        ArtifactError: there is no such run, or its folder was changed.
        RegistryError: no version has the alias.
        ConfigError: both `run` and `alias` are given.
    """
    settings = _resolve(config)
    if alias is None:
        return read_run(_home(home), settings.name, run)
    if run is not None:
        raise ConfigError(f"open_run: found run '{run}' and alias '{alias}'; use one of them")
    from recsys.pipelines.compare import read_logged_run
    from recsys.registry.tracking import connect
    from recsys.registry.versions import need_version

    store = connect(_home(home), settings)
    return read_logged_run(store, need_version(store, settings.model_name, alias, _TRAIN_FIRST))


def evaluate(config: Config | Path | str, *, run: str | None = None, home: Path | str | None = None) -> pl.DataFrame:
    """Compare the lists of a training with its baselines on the test window.

    Args:
        config: its evaluation section sets the list length `n`.
        run: name of a folder below `runs/` of the home; None: the config's last training.
        home: folder that holds the runs.

    Returns:
        A `MetricTable`, one row per metric and model at `n`: `mean` with its interval, and for each baseline the
        `difference` (ours minus the baseline, paired by user) with its interval and p-value.

    Raises:
        ArtifactError: there is no such run, or its folder was changed.
    """
    settings = _resolve(config)
    return open_run(settings, run=run, home=home).metrics.filter(pl.col("n") == settings.evaluation.n)


def compare(
    config: Config | Path | str,
    *,
    first: str = "challenger",
    second: str = "champion",
    home: Path | str | None = None,
) -> Comparison:
    """Compare two registered versions on the same users, as the gate does.

    Args:
        config: names the model; its evaluation section sets metric and list length.
        first: alias of the version in question; its test window is used.
        second: alias of the version it is compared with.
        home: folder of the snapshots and the default MLflow store.

    Returns:
        The comparison: settings that differ, metrics, segments, outcomes and lost positives;
        `describe()` returns the answer in sentences.

    Raises:
        RegistryError: no version has one of the aliases.
        Refused: the second version learned from events of the first one's test window.
        DataError: the two share no measured user.
    """
    from recsys.pipelines.compare import compare_versions

    return compare_versions(_resolve(config), _home(home), first, second)


def promote(config: Config | Path | str, *, home: Path | str | None = None) -> Promotion:
    """Make the challenger champion if it passes the gate.

    Args:
        config: names the model; its registry section sets the gate.
        home: folder of the default MLflow store and of the copy of the promotion log.

    Returns:
        The version that is champion now, and the reason.

    Raises:
        Refused: the gate refused the challenger; the champion keeps serving.
        RegistryError: there is no challenger.
    """
    from recsys.pipelines.promote import promote as promote_pipeline

    promoted = promote_pipeline(_resolve(config), _home(home))
    return Promotion(promoted.version.number, promoted.reason)


def rollback(config: Config | Path | str, *, home: Path | str | None = None) -> Promotion:
    """Make the previous champion the champion again, and publish its lists again where they are kept.

    Args:
        config: names the model.
        home: folder of the default MLflow store and of the copy of the promotion log.

    Returns:
        The version that is champion now, and the version it replaced.

    Raises:
        RegistryError: there is no champion, or no earlier one.
    """
    from recsys.pipelines.rollback import rollback as rollback_pipeline

    done = rollback_pipeline(_resolve(config), _home(home))
    return Promotion(done.version, done.entry.reason if done.entry else f"version {done.version} is the champion")


def generate(
    config: Config | Path | str,
    *,
    run_date: str | None = None,
    keep_pointer: bool = False,
    allow_future: bool = False,
    accept_loss: str | None = None,
    home: Path | str | None = None,
) -> Generated:
    """Make and publish the champion's lists for every active user.

    Args:
        config: its dataset and generation sections apply; the models come from the champion's own settings.
        run_date: YYYY-MM-DD; only events before 00:00 UTC of this day are used. None: the day after the last event.
        keep_pointer: leave readers on the lists that they follow, as a backfill does.
        allow_future: accept a run date in the future, for simulations.
        accept_loss: why fewer users and rows than in the last good lists are right; None: they are limited.
        home: folder of snapshots, lists and the default MLflow store.

    Returns:
        The folder of the published lists, its run date, counts, and the run date that readers follow now.

    Raises:
        Refused: the run date is in the future, the champion learned from later events, the snapshot is too old, or the
            lists failed a sanity check.
        RegistryError: there is no champion.
    """
    from recsys.pipelines.generate import NightOptions
    from recsys.pipelines.generate import generate as generate_pipeline

    options = NightOptions(keep_pointer, allow_future, accept_loss)
    return generate_pipeline(_resolve(config), _home(home), run_date, datetime.now(UTC), options)


def generate_range(
    config: Config | Path | str,
    first: str,
    last: str,
    *,
    keep_pointer: bool = False,
    home: Path | str | None = None,
) -> list[Generated]:
    """Make and publish the lists of each run date of a range; dates that are already published are skipped.

    Args:
        config: as for `generate`.
        first: first run date, YYYY-MM-DD.
        last: last run date, YYYY-MM-DD, included.
        keep_pointer: leave readers on the lists that they follow, as a backfill does.
        home: folder of snapshots, lists and the default MLflow store.

    Returns:
        One entry per run date, in order.

    Raises:
        DataError: a date is not YYYY-MM-DD, the last is before the first, or the data has no times.
        Refused: as for `generate`; earlier run dates of the range stay published.
    """
    from recsys.pipelines.generate import NightOptions
    from recsys.pipelines.generate import generate_range as generate_range_pipeline

    options = NightOptions(keep_pointer)
    return generate_range_pipeline(_resolve(config), _home(home), first, last, datetime.now(UTC), options)


def open_bundle(
    config: Config | Path | str,
    *,
    alias: str = "champion",
    evaluation_model: bool = False,
    home: Path | str | None = None,
) -> Bundle:
    """Load the fitted parts of a registered version.

    Args:
        config: names the model.
        alias: of the version: `champion` or `challenger`.
        evaluation_model: load the model that was measured, which has not seen the test window, instead of the refit
            that serves.
        home: folder of the default MLflow store.

    Returns:
        The bundle: encoder, collaborative models, ranker, catalogue and settings.

    Raises:
        RegistryError: no version has the alias.
        ArtifactError: a file of the bundle is missing or was changed.
    """
    from recsys.pipelines.compare import load_bundle
    from recsys.registry.tracking import connect
    from recsys.registry.versions import BUNDLE, EVALUATION_MODEL, need_version

    settings = _resolve(config)
    store = connect(_home(home), settings)
    version = need_version(store, settings.model_name, alias, _TRAIN_FIRST)
    return load_bundle(store, version, EVALUATION_MODEL if evaluation_model else BUNDLE)


def open_pretrained(config: Config | Path | str, *, max_tokens: int | None = None) -> Encoder:
    """Load the checkpoint that a config fine-tunes, untuned.

    Args:
        config: its text section names the checkpoint.
        max_tokens: length limit of a text; None: the config's.

    Returns:
        The encoder; `encode(texts)` gives (n_texts, embedding_size) float32 with rows of unit length.

    Raises:
        CheckpointError: the checkpoint cannot be found, read or trusted.
    """
    from recsys.text.encoder import Encoder

    text = _resolve(config).text
    limited = text if max_tokens is None else text.model_copy(update={"max_tokens": max_tokens})
    return Encoder(text.checkpoint, limited)


def recommend(bundle: Bundle, histories: pl.DataFrame | pd.DataFrame) -> pl.DataFrame:
    """Recommend items for given histories, with the catalogue as of the bundle's training.

    Args:
        bundle: from `open_bundle`.
        histories: polars or pandas, one row per interaction, each user's rows oldest first: `user_id` and `item_id`
            (text or whole numbers), and optionally `time` (datetimes with a zone or in UTC, before the bundle's
            cutoff) and `event` (an event kind of the config). Without them every interaction has weight 1 and no age.
            Items that the catalogue does not have are skipped.

    Returns:
        `user_id`, `rank` (Int32, 1 is best), `item_id`, `score` (higher is better), sorted by user, then rank. The
        rules and block lists are those of the bundle's training. A user's whole history, with times and event kinds,
        gives the list that the nightly batch would make at the bundle's cutoff.

    Raises:
        DataError: `histories` is not a frame, lacks a column, has a row without an id, a time that is not before the
            cutoff, or an unknown event kind.
    """
    from recsys.serving.history_recommender import recommend_for

    return recommend_for(bundle, _parse_histories(histories))


def read_lists(run_date: str | None = None, *, home: Path | str | None = None) -> pl.DataFrame:
    """Read published recommendations.

    Args:
        run_date: YYYY-MM-DD; None: the run date that `recommendations/CURRENT` names.
        home: folder that the lists were published to.

    Returns:
        A `Recommendations` table, sorted by user, then rank: `user_id`, `rank`, `item_id`, `score`, `sources`,
        `reason`, `variant`, `model_version`.

    Raises:
        ArtifactError: no lists are published, not for this run date, or they were changed on disk.
    """
    folder = _home(home)
    day = run_date or read_pointer(folder)
    if day is None:
        raise ArtifactError(f"recommendations in {folder}: none are published; run 'recsys generate' first")
    return read_recommendations(folder, day)


def _resolve(config: Config | Path | str) -> Config:
    return config if isinstance(config, Config) else read_config(config)


def _home(home: Path | str | None) -> Path:
    return default_home() if home is None else Path(home).expanduser().resolve()


def _parse_histories(histories: pl.DataFrame | pd.DataFrame) -> pl.DataFrame:
    columns = ("user_id", "item_id")
    if not hasattr(histories, "columns"):
        raise DataError(
            f"histories: found {type(histories).__name__}; "
            "pass a polars or pandas frame with the columns user_id and item_id"
        )
    missing = [name for name in columns if name not in histories.columns]
    if missing:
        raise DataError(
            f"histories: no column {' and '.join(missing)}; found {', '.join(map(str, histories.columns)) or 'none'}; "
            "pass user_id and item_id, one row per interaction"
        )
    ids = {name: pl.Series(name, histories[name]) for name in columns}
    frame = pl.DataFrame({name: clean_ids(values) for name, values in ids.items()})
    for name in columns:
        if empty := frame[name].null_count():
            row = frame[name].is_null().arg_max()
            raise DataError(
                f"histories: {empty} of {frame.height:,} rows have no {name} (first: row {row}); remove these rows"
            )
    for name in ("time", "event", "value"):
        if name in histories.columns:
            frame = frame.with_columns(_to_polars(histories[name]).alias(name))
    return frame


def _to_polars(values: pl.Series | pd.Series) -> pl.Series:
    if isinstance(values, pl.Series):
        return values
    # Times become UTC without a zone: pandas warns when a column with a zone is converted.
    return pl.from_pandas(values if getattr(values.dtype, "tz", None) is None else values.dt.tz_convert(None))

"""Every path below RECSYS_HOME, the one folder that recsys writes to.

    HOME/
      snapshots/
        ID/                              one ingested state of the data, named by the hash of its content
        NAME.current                     id of the snapshot that the config NAME ingested last
      runs/
        RUN/                             one training: tables, settings, plots
        NAME.current                     the run that the config NAME trained last
      unregistered/RUN/                  bundles of a training whose registration failed, until 'recsys register'
      fine_tuning/NAME/                  checkpoint of a training that has not finished
      tuning/
        STUDY/                           values of every trial of one search
        NAME.db                          optuna's storage for the searches of the config NAME
        NAME.yaml                        the config with the winner's settings
      recommendations/
        CURRENT                          the run date that readers follow
        run_date=YYYY-MM-DD/             the published lists of one run date
          _sample/                       what the monitor needs of them
        .replaced/
          run_date=YYYY-MM-DD/version=N/ lists of a run date that those of another version replaced
        .run_date=YYYY-MM-DD.shards/     finished shards of a run date that is not published yet
      monitoring/NAME/                   what the config NAME was watched by
        nights/YYYY-MM-DD.json           figures, verdict and alerts of one run date
        samples/YYYY-MM-DD/              samples that the next nights are compared with
        page.html                        the page of the last night
        metrics.txt                      its figures for Prometheus
      reports/RUN.html                   the report of a run
      embeddings/                        cache of item texts' embeddings
      factors/                           cache of users' ALS factors
      plotting.js                        cache of the plotting library that pages contain
      compiled/                          machine code of compiled loops, where the installation is read-only
      mlflow.db                          the default MLflow store
      mlartifacts/                       the files of its runs and models
      forgotten.json                     hashes of the users whose rows ingest rejects
      promotion_log.jsonl                copy of the promotion logs that this home has read; the store has the originals
      .identity.json                     the home's id, and where it was when it got it
      .NAME.lock                         held by the process that works on NAME

A name that starts with a dot and ends in `.tmp` belongs to a writer that has not finished, or was killed.
"""

from __future__ import annotations

from pathlib import Path

from recsys.storage.run_dates import is_run_date

_RUN_DATE = "run_date="
_SHARDS = ".shards"
_REPLACED = ".replaced"
_VERSION = "version="


def snapshots_folder(home: Path) -> Path:
    """Return the folder of all snapshots."""
    return home / "snapshots"


def snapshot_folder(home: Path, identity: str) -> Path:
    """Return the folder of one snapshot, by its id."""
    return snapshots_folder(home) / identity


def new_snapshot_folder(home: Path, name: str) -> Path:
    """Return the folder that a config's snapshot is written to before its id is known."""
    return snapshots_folder(home) / f"new-{name}"


def current_snapshot_file(home: Path, name: str) -> Path:
    """Return the file that holds the id of the snapshot that a config ingested last."""
    return snapshots_folder(home) / f"{name}.current"


def runs_folder(home: Path) -> Path:
    """Return the folder of all runs."""
    return home / "runs"


def run_folder(home: Path, run: str) -> Path:
    """Return the folder of one run."""
    return runs_folder(home) / run


def current_run_file(home: Path, name: str) -> Path:
    """Return the file that holds the name of a config's last run."""
    return runs_folder(home) / f"{name}.current"


def all_fine_tuning_folder(home: Path) -> Path:
    """Return the folder of the checkpoints of all unfinished trainings."""
    return home / "fine_tuning"


def fine_tuning_folder(home: Path, name: str) -> Path:
    """Return the folder of the checkpoints of a config's unfinished training."""
    return all_fine_tuning_folder(home) / name


def tuning_folder(home: Path) -> Path:
    """Return the folder of all searches over settings."""
    return home / "tuning"


def study_folder(home: Path, study: str) -> Path:
    """Return the folder of one search's trials."""
    return tuning_folder(home) / study


def study_database(home: Path, name: str) -> Path:
    """Return the SQLite file of a config's searches."""
    return tuning_folder(home) / f"{name}.db"


def tuned_config_file(home: Path, name: str) -> Path:
    """Return the default file for the config with a search's winning settings."""
    return tuning_folder(home) / f"{name}.yaml"


def recommendations_folder(home: Path) -> Path:
    """Return the folder of all published lists."""
    return home / "recommendations"


def pointer_file(home: Path) -> Path:
    """Return the file that names the run date that readers follow."""
    return recommendations_folder(home) / "CURRENT"


def list_folder(home: Path, run_date: str) -> Path:
    """Return the folder of the published lists of a run date."""
    return recommendations_folder(home) / f"{_RUN_DATE}{run_date}"


def shards_folder(home: Path, run_date: str) -> Path:
    """Return the folder of the finished shards of a run date that is not published yet."""
    return recommendations_folder(home) / f".{_RUN_DATE}{run_date}{_SHARDS}"


def all_list_folders(home: Path) -> dict[str, Path]:
    """Return the existing list folders by run date, oldest first, complete or not."""
    return _by_run_date(recommendations_folder(home), _RUN_DATE, "")


def all_shards_folders(home: Path) -> dict[str, Path]:
    """Return the existing shard folders by run date, oldest first."""
    return _by_run_date(recommendations_folder(home), f".{_RUN_DATE}", _SHARDS)


def replaced_lists_folder(home: Path, run_date: str, version: str) -> Path:
    """Return the folder of a version's lists of a run date that those of another version replaced."""
    return _replaced_folder(home) / f"{_RUN_DATE}{run_date}" / f"{_VERSION}{version}"


def all_replaced_folders(home: Path) -> dict[str, Path]:
    """Return the existing folders of replaced lists by run date, oldest first; each holds a folder per version."""
    return _by_run_date(_replaced_folder(home), _RUN_DATE, "")


def _replaced_folder(home: Path) -> Path:
    return recommendations_folder(home) / _REPLACED


def _by_run_date(folder: Path, prefix: str, suffix: str) -> dict[str, Path]:
    """Return the folders that are named by a run date; others, such as `run_date=backup`, are somebody else's."""
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    named = [(path.name.removeprefix(prefix).removesuffix(suffix), path) for path in paths]
    return {
        run_date: path
        for run_date, path in named
        if path.name == f"{prefix}{run_date}{suffix}" and is_run_date(run_date) and path.is_dir()
    }


def monitoring_folder(home: Path, name: str) -> Path:
    """Return the folder of everything that the monitor writes for a config."""
    return home / "monitoring" / name


def monitored_nights_folder(home: Path, name: str) -> Path:
    """Return the folder of the monitored nights of a config, a JSON file each."""
    return monitoring_folder(home, name) / "nights"


def monitored_samples_folder(home: Path, name: str, run_date: str) -> Path:
    """Return the folder of the samples of a monitored night."""
    return monitoring_folder(home, name) / "samples" / run_date


def monitor_page_file(home: Path, name: str) -> Path:
    """Return the page that the monitor writes for a config."""
    return monitoring_folder(home, name) / "page.html"


def monitor_metrics_file(home: Path, name: str) -> Path:
    """Return the text file that the monitor writes for Prometheus."""
    return monitoring_folder(home, name) / "metrics.txt"


def reports_folder(home: Path) -> Path:
    """Return the folder of all reports."""
    return home / "reports"


def report_file(home: Path, run: str) -> Path:
    """Return the default file for the report of a run."""
    return reports_folder(home) / f"{run}.html"


def embeddings_folder(home: Path) -> Path:
    """Return the folder of the embedding cache."""
    return home / "embeddings"


def factors_folder(home: Path) -> Path:
    """Return the folder of the factor cache."""
    return home / "factors"


def plotting_file(home: Path) -> Path:
    """Return the file that caches the plotting library of pages."""
    return home / "plotting.js"


def mlflow_database(home: Path) -> Path:
    """Return the SQLite file of the default MLflow store."""
    return home / "mlflow.db"


def mlflow_artifacts_folder(home: Path) -> Path:
    """Return the folder that the default MLflow store keeps its files in."""
    return home / "mlartifacts"


def pointer_moves_file(home: Path) -> Path:
    """Return the file with the moves of the pointer by hand, one JSON line each."""
    return home / "pointer_moves.jsonl"


def promotion_log_file(home: Path) -> Path:
    """Return the file with this home's copy of the promotion logs, one JSON line per entry."""
    return home / "promotion_log.jsonl"


def old_ledger_file(home: Path) -> Path:
    """Return the file that held the promotion log in older versions."""
    return home / "ledger.jsonl"


def forgotten_file(home: Path) -> Path:
    """Return the file with the hashes of forgotten users."""
    return home / "forgotten.json"


def unregistered_folder(home: Path) -> Path:
    """Return the folder of all trainings that wait for their registration."""
    return home / "unregistered"


def kept_training_folder(home: Path, run: str) -> Path:
    """Return the folder that keeps the bundles of a run until they are registered."""
    return unregistered_folder(home) / run


def identity_file(home: Path) -> Path:
    """Return the file with the home's id."""
    return home / ".identity.json"


def lock_file(home: Path, name: str) -> Path:
    """Return the lock file of a piece of work, such as `training` or `generation`."""
    return home / f".{name}.lock"


def restore_marker(home: Path) -> Path:
    """Return the file that marks a home which a backup is being restored to."""
    return home / ".restoring.json"


def file_below(home: Path, name: str) -> Path:
    """Return a file by its path below the home, as backups name it."""
    return home / name

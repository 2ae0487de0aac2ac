"""`recsys report`: read a run and the lists that its config published, and write them as one HTML file."""

from __future__ import annotations

import logging
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any

import polars as pl
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from recsys.artifacts.replaced_lists import CANARY
from recsys.artifacts.runs import Run, read_run
from recsys.artifacts.snapshots import Snapshot, read_snapshot, read_summary
from recsys.config import Config
from recsys.dataset.windows import cut, split_windows
from recsys.progress import format_count
from recsys.registry.tracking import connect, find_run_id, log_file
from recsys.report.chart_style import CONFIG
from recsys.report.data import show_data
from recsys.report.head import Head, describe_run
from recsys.report.layout import Panel
from recsys.report.nights import Night, compare_nights, find_nights
from recsys.report.panels import compare_models, compare_segments, show_beyond_accuracy, show_training, trace_losses
from recsys.report.users import gather_users
from recsys.storage.files import replace_text
from recsys.storage.folders import read_manifest
from recsys.storage.home import report_file, snapshot_folder
from recsys.visuals.html import bundle_plotting, embed_json, hash_script

logger = logging.getLogger(__name__)


def write_report(
    config: Config,
    home: Path,
    *,
    run: str | None = None,
    run_date: str | None = None,
    users: int = 300,
    out: Path | None = None,
) -> Path:
    """Write the page of one run and log it to the run's MLflow run.

    The page is self-contained and makes no network requests. The same run and lists give the same bytes.

    Args:
        config: its runs and lists are shown.
        home: `RECSYS_HOME`, which has them.
        run: name of the run; None: the config's last.
        run_date: of the published lists to show; None: the newest. If nothing is published, the run's own are shown.
        users: maximum number of users in the user browser.
        out: path of the file; None: `reports/RUN.html` in the home.

    Returns:
        The path of the file.

    Raises:
        ArtifactError: the run or the lists do not exist or were changed, or the file cannot be written.
        RegistryError: the MLflow store does not answer; the file is written nevertheless.
    """
    shown = read_run(home, config.name, run)
    nights = find_nights(home, config.name, run_date)
    snapshot = _open_snapshot(home, config.name, shown.facts["snapshot"])
    panels = [
        compare_models(shown),
        compare_segments(shown),
        trace_losses(shown),
        show_training(shown),
        compare_nights(shown, nights, config.generation.n),
        show_beyond_accuracy(shown),
    ]
    summary = read_summary(home, snapshot.id)
    if summary is not None:
        panels.append(show_data(summary))
    whose, browser = _gather_browser(home, shown, snapshot, nights, users)
    path = out or report_file(home, shown.name)
    replace_text(path, render(describe_run(shown, snapshot), panels, whose, browser))
    _log(config, home, shown.name, path)
    return path


def _log(config: Config, home: Path, run: str, path: Path) -> None:
    store = connect(home, config)
    run_id = find_run_id(store, run)
    if run_id is None:
        logger.warning(
            "report of %s: MLflow store %s has no such run, so the report is not logged there", run, store.place
        )
    else:
        log_file(store, run_id, path)


def render(head: Head, panels: list[Panel], whose: str, browser: dict[str, Any]) -> str:
    """Return the page's HTML: text is escaped, data is JSON, and the browser runs only scripts with the known hashes.

    Args:
        head: name, verdict and facts.
        panels: from top to bottom; the user browser comes last.
        whose: sentence on whose lists the user browser shows.
        browser: from `gather_users`.
    """
    environment = Environment(
        loader=PackageLoader("recsys.report", ""), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    plotting = bundle_plotting()
    script, style = (
        resources.files("recsys.report").joinpath(name).read_text("utf-8") for name in ("page.js", "page.css")
    )
    charts = {figure.name: figure.spec for panel in panels for figure in panel.figures}
    return environment.get_template("page.html.j2").render(
        head=head,
        panels=panels,
        charts=Markup(embed_json({"config": CONFIG, "charts": charts})),
        whose=whose,
        browser=Markup(embed_json(browser)),
        style=Markup(style),
        scripts=[Markup(plotting), Markup(script)],
        hashes=" ".join(f"'sha256-{hash_script(text)}'" for text in (plotting, script)),
    )


def _gather_browser(
    home: Path, run: Run, snapshot: Snapshot, nights: list[Night], max_users: int
) -> tuple[str, dict[str, Any]]:
    """Return the users of the newest night, or of the run if there is none, with a sentence that says so."""
    if nights:
        night = nights[0]
        whose = f"Lists published for {night.run_date} by model version {night.facts['model_version']}"
        if canary := night.facts.get(CANARY):
            whose += f" and, for the users of a canary, by version {canary['model_version']}"
        snapshot_of_night = _open_snapshot(home, run.config.name, night.facts["snapshot"])
        lists = night.lists
        history = cut(snapshot_of_night.interactions, night.end)
        users = gather_users(lists, history, snapshot_of_night.items, None, max_users)
    else:
        whose = "No lists are published yet, so these are the run's lists for its test window"
        lists = run.lists
        users = gather_users(lists, _rebuild_history(run, snapshot), snapshot.items, run.positives, max_users)
    total = lists["user_id"].n_unique()
    which = "all" if total == len(users["users"]) else f"{len(users['users']):,} of"
    how = "from the shortest to the longest history" if which == "all" else "chosen evenly from short to long histories"
    return f"{whose}: {which} {format_count(total, 'user')}, {how}.", users


def _rebuild_history(run: Run, snapshot: Snapshot) -> pl.DataFrame:
    """Return the interactions that the run's lists were made from."""
    config, end = run.config, run.facts["end"]
    return split_windows(
        snapshot.interactions,
        config.windows,
        repeats=config.dataset.repeats,
        end=datetime.fromisoformat(end) if end else None,
        seed=config.seed,
        # The measured pairs replace a hold-out file, which may no longer exist.
        holdout=run.positives.select("user_id", "item_id"),
    ).test.history


def _open_snapshot(home: Path, config_name: str, identity: str) -> Snapshot:
    """Read a snapshot by its id, even if the config's dataset section has changed since."""
    manifest = read_manifest(
        snapshot_folder(home, identity), "run 'recsys ingest', then 'recsys train' with this config"
    )
    return read_snapshot(home, config_name, manifest["dataset"], identity)

"""`recsys report`: gather what a run and its config's published lists say, and write it as one HTML file."""

from __future__ import annotations

import logging
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any

import polars as pl
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from recsys.artifacts.runs import Run, read_run
from recsys.artifacts.snapshots import Snapshot, read_snapshot
from recsys.config import Config
from recsys.dataset.windows import cut, split_windows
from recsys.registry.tracking import connect, find_run_id, log_file
from recsys.report.charts import CONFIG
from recsys.report.head import Head, describe_run
from recsys.report.layout import Panel
from recsys.report.nights import Night, compare_nights, find_nights
from recsys.report.panels import compare_models, compare_segments, look_beyond, show_training, trace_losses
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

    The page holds all it needs and asks no network for anything. The same run and lists give the same bytes.

    Args:
        config: whose runs and lists.
        home: where they lie.
        run: its name; None: the config's last.
        run_date: the published night to show; None: the newest. Without any the run's own lists are shown.
        users: shown in the browser of users at most.
        out: the file; None: `reports/RUN.html` in the home.

    Returns:
        The file.

    Raises:
        ArtifactError: no such run or night, one of them was changed, or the file cannot be written.
        RegistryError: the MLflow store does not answer; the file is written.
    """
    found = read_run(home, config.name, run)
    nights = find_nights(home, config.name, run_date)
    snapshot = _open_snapshot(home, config.name, found.facts["snapshot"])
    panels = [
        compare_models(found),
        compare_segments(found),
        trace_losses(found),
        show_training(found),
        compare_nights(found, nights, config.generation.n),
        look_beyond(found),
    ]
    told, browser = _gather_browser(home, found, snapshot, nights, users)
    path = out or report_file(home, found.name)
    replace_text(path, render(describe_run(found, snapshot), panels, told, browser))
    _log(config, home, found.name, path)
    return path


def _log(config: Config, home: Path, run: str, path: Path) -> None:
    store = connect(home, config)
    run_id = find_run_id(store, run)
    if run_id is None:
        logger.warning("report of %s: no such run in MLflow store %s, so it is not logged there", run, store.place)
    else:
        log_file(store, run_id, path)


def render(head: Head, panels: list[Panel], told: str, browser: dict[str, Any]) -> str:
    """Return the page's HTML: text escaped, data as JSON, scripts known to the browser by their hash."""
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
        told=told,
        browser=Markup(embed_json(browser)),
        style=Markup(style),
        scripts=[Markup(plotting), Markup(script)],
        hashes=" ".join(f"'sha256-{hash_script(text)}'" for text in (plotting, script)),
    )


def _gather_browser(
    home: Path, run: Run, snapshot: Snapshot, nights: list[Night], at_most: int
) -> tuple[str, dict[str, Any]]:
    """Return users with a sentence on whose lists they show: those of the newest night, else those of the run."""
    if nights:
        night = nights[0]
        whose = f"Lists published for {night.run_date} by model version {night.facts['model_version']}"
        seen = _open_snapshot(home, run.config.name, night.facts["snapshot"])
        lists = night.lists
        found = gather_users(lists, cut(seen.interactions, night.end), seen.items, None, at_most)
    else:
        whose = "Lists of the run for its test window, since none are published yet"
        lists = run.lists
        found = gather_users(lists, _find_history(run, snapshot), snapshot.items, run.positives, at_most)
    of = lists["user_id"].n_unique()
    which = "all" if of == len(found["users"]) else f"{len(found['users']):,} of"
    how = "from the shortest to the longest history" if which == "all" else "chosen evenly from short to long histories"
    return f"{whose}: {which} {of:,} users, {how}.", found


def _find_history(run: Run, snapshot: Snapshot) -> pl.DataFrame:
    """Return the interactions that the run's lists were made from."""
    config, end = run.config, run.facts["end"]
    return split_windows(
        snapshot.interactions,
        config.windows,
        repeats=config.dataset.repeats,
        end=datetime.fromisoformat(end) if end else None,
        seed=config.seed,
        # The pairs of a hold-out file that were measured; the file itself may be gone.
        holdout=run.positives.select("user_id", "item_id"),
    ).test.history


def _open_snapshot(home: Path, config_name: str, identity: str) -> Snapshot:
    """Read a snapshot by its id, whatever the config's dataset section says today."""
    manifest = read_manifest(
        snapshot_folder(home, identity), "run 'recsys ingest', then 'recsys train' with this config"
    )
    return read_snapshot(home, config_name, manifest["dataset"], identity)

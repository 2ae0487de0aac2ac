"""`recsys report`: read a run and the lists that its config published, and write them as one HTML file."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from pathlib import Path

import polars as pl
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from recsys.artifacts.replaced_lists import CANARY
from recsys.artifacts.runs import Run, read_run
from recsys.artifacts.snapshots import Snapshot, read_snapshot, read_summary
from recsys.config import Config
from recsys.dataset.windows import cut, split_windows
from recsys.errors import RegistryError
from recsys.evaluation.comparison import OURS
from recsys.monitoring.monitored_nights import read_nights
from recsys.progress import format_count
from recsys.registry.tracking import Store, connect, log_file
from recsys.report.answers import answer_questions
from recsys.report.chart_style import CONFIG
from recsys.report.data import show_data
from recsys.report.exposure import show_exposure
from recsys.report.head import Head, list_facts, make_head, write_window
from recsys.report.layout import Panel
from recsys.report.limits import show_limits
from recsys.report.nights import Night, compare_nights, find_nights
from recsys.report.panels import compare_models, compare_segments, show_beyond_accuracy, show_training, trace_losses
from recsys.report.serving import Serving, read_serving
from recsys.report.trend import read_trainings, show_trend
from recsys.report.users import gather_users, keep_users
from recsys.report.watch import show_watch
from recsys.storage.files import replace_text
from recsys.storage.folders import read_manifest
from recsys.storage.home import plotting_file, report_file, snapshot_folder
from recsys.visuals.html import bundle_plotting, embed_json, hash_script
from recsys.visuals.palette import write_css

logger = logging.getLogger(__name__)

# Of the page, and of the browser's data where the rest of the page leaves less; the plotting library takes 0.9 MB.
_PAGE_BYTES, _LEAST_BROWSER_BYTES = 1_950_000, 200_000
# Where the page has the browser's data; no text of the page can hold these, because its markup is escaped.
_WHOSE, _BROWSER = "<!--whose-->", "<!--browser-->"
_FEWEST_USERS = 10
# Models whose lists are compared: ours, the blend, popularity, and the best of the others.
_COMPARED, _ALWAYS = 6, (OURS, "blend", "popular")


def write_report(
    config: Config,
    home: Path,
    *,
    run: str | None = None,
    run_date: str | None = None,
    users: int = 300,
    out: Path | None = None,
    now: datetime | None = None,
) -> Path:
    """Write the page of one run and log it to the run's MLflow run.

    The page is self-contained and makes no network requests. The same run, lists and registry give the same bytes.

    Args:
        config: its runs and lists are shown.
        home: `RECSYS_HOME`, which has them.
        run: name of the run; None: the config's last.
        run_date: of the published lists to show; None: the newest. If nothing is published, the run's own are shown.
        users: maximum number of users in the user browser; fewer where the page would be too large.
        out: path of the file; None: `reports/RUN.html` in the home.
        now: the time that the page gives for itself; None: it gives none.

    Returns:
        The path of the file.

    Raises:
        ArtifactError: the run or the lists do not exist or were changed, or the file cannot be written.
        RegistryError: the MLflow store does not answer; the file is written nevertheless.
    """
    shown = read_run(home, config.name, run)
    nights = find_nights(home, config.name, run_date)
    store, problem = _connect(home, config)
    serving = read_serving(store, home, config.model_name, shown.name) if store else Serving(problem=str(problem))
    snapshot = _open_snapshot(home, config.name, shown.facts["snapshot"])
    source = _find_lists(home, shown, snapshot, nights)
    trainings = read_trainings(home, shown)
    monitored = [night for night in read_nights(home, config.name) if run_date is None or night.run_date <= run_date]
    panels = [
        compare_models(shown),
        compare_segments(shown),
        trace_losses(shown),
        show_limits(serving, nights, config.generation.sanity, config.generation.n),
        show_trend(trainings, shown.config.evaluation),
        compare_nights(shown, nights, config.generation.n),
        show_watch(monitored),
        show_beyond_accuracy(shown),
        show_exposure(source.lists, source.history, source.items, shown.config.evaluation.segments, source.whose),
        show_training(shown),
        show_data(read_summary(home, snapshot.id), list_facts(shown, snapshot)),
    ]
    head = make_head(shown, serving, answer_questions(shown, serving, nights, monitored, trainings), now)
    path = out or report_file(home, shown.name)
    page = render(head, [panel for panel in panels if panel], plotting_file(home))
    room = max(_LEAST_BROWSER_BYTES, _PAGE_BYTES - len(page.encode()))
    whose, browser = _gather_browser(shown, source, users, room)
    replace_text(path, page.replace(_WHOSE, escape(whose), 1).replace(_BROWSER, browser, 1))
    if store is None:
        raise problem or RegistryError(f"MLflow store of '{config.name}': does not answer")
    _log(store, serving, shown.name, path)
    return path


def _connect(home: Path, config: Config) -> tuple[Store | None, RegistryError | None]:
    try:
        return connect(home, config), None
    except RegistryError as error:
        return None, error


def _log(store: Store, serving: Serving, run: str, path: Path) -> None:
    if serving.record is None:
        reason = serving.problem or f"MLflow store {store.place} has no such run"
        logger.warning("report of %s: not logged with its run: %s", run, reason)
    else:
        log_file(store, serving.record.run_id, path)


def render(head: Head, panels: list[Panel], cache: Path | None = None) -> str:
    """Return the page's HTML, with `_WHOSE` and `_BROWSER` in the places of the user browser's data.

    Text is escaped, data is JSON, and the browser runs only scripts with the known hashes.

    Args:
        head: name, verdict and answers.
        panels: from top to bottom; users and items come last.
        cache: of the plotting library.
    """
    environment = Environment(
        loader=PackageLoader("recsys.report", ""), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    plotting = bundle_plotting(cache)
    script = _read("page.js") + _read("browser.js")
    charts = {figure.name: figure.spec for panel in panels for figure in panel.figures}
    return environment.get_template("page.html.j2").render(
        head=head,
        panels=panels,
        charts=Markup(embed_json({"config": CONFIG, "charts": charts})),
        whose=Markup(_WHOSE),
        browser=Markup(_BROWSER),
        style=Markup(write_css() + _read("drawings.css") + _read("page.css")),
        scripts=[Markup(plotting), Markup(script)],
        hashes=" ".join(f"'sha256-{hash_script(text)}'" for text in (plotting, script)),
    )


def _read(name: str) -> str:
    return resources.files("recsys.report").joinpath(name).read_text("utf-8")


@dataclass(frozen=True)
class _Lists:
    """The lists that the page shows, and what they were made from.

    Attributes:
        lists: `user_id`, `rank`, `item_id`, `score` and, of published lists, more.
        history: `Interactions`.
        items: `Items`.
        whose: a few words.
    """

    lists: pl.DataFrame
    history: pl.DataFrame
    items: pl.DataFrame
    whose: str


def _find_lists(home: Path, run: Run, snapshot: Snapshot, nights: list[Night]) -> _Lists:
    """Return the lists of the newest night, or of the run if there is none."""
    if not nights:
        whose = "No lists are published yet, so these are the run's lists for its test window"
        return _Lists(run.lists, _rebuild_history(run, snapshot), snapshot.items, whose)
    night = nights[0]
    whose = f"Lists published for {night.run_date} by model version {night.facts['model_version']}"
    if canary := night.facts.get(CANARY):
        whose += f" and, for the users of a canary, by version {canary['model_version']}"
    known = snapshot
    if night.facts["snapshot"] != snapshot.id:
        known = _open_snapshot(home, run.config.name, night.facts["snapshot"])
    return _Lists(night.lists, cut(known.interactions, night.end), known.items, whose)


def _gather_browser(run: Run, source: _Lists, max_users: int, room: int) -> tuple[str, str]:
    """Return a sentence on whose lists these are, and the browser's data as JSON of at most `room` bytes."""
    found = gather_users(
        source.lists,
        source.history,
        source.items,
        run.positives,
        max_users,
        compared=run.model_lists,
        neighbours=run.neighbours,
        models=_choose_models(run),
    )
    found["window"] = write_window(run.facts["test_start"], run.facts["test_end"])
    text = embed_json(found)
    while (size := len(text.encode())) > room and (users := len(found["users"])) > _FEWEST_USERS:
        found = keep_users(found, _estimate_users(users, size, len(embed_json(found["users"]).encode()), room))
        text = embed_json(found)
    total, shown = source.lists["user_id"].n_unique(), len(found["users"])
    which = "all" if total == shown else f"{shown:,} of"
    how = "from the shortest to the longest history" if which == "all" else "chosen evenly from short to long histories"
    return f"{source.whose}: {which} {format_count(total, 'user')}, {how}.", text


def _estimate_users(users: int, size: int, own: int, room: int) -> int:
    """Return how many of some users fit.

    Args:
        users: of the data.
        size: bytes of all data; that of the items grows more slowly than the number of users.
        own: bytes of the users alone.
        room: bytes that the data may have.
    """
    fit = (
        number
        for number in range(users - 1, _FEWEST_USERS, -1)
        if (size - own) * (number / users) ** 0.25 + own * number / users <= 0.98 * room
    )
    return next(fit, _FEWEST_USERS)


def _choose_models(run: Run) -> list[str]:
    """Return the models whose test lists are compared, ours first, then from the best on."""
    evaluation = run.config.evaluation
    known = set(run.model_lists["model"].unique())
    rows = run.metrics.filter(pl.col("metric") == evaluation.metric, pl.col("n") == evaluation.n)
    order = rows.sort("mean", "model", descending=[True, False])["model"].to_list()
    ranked = [model for model in order if model in known and model != OURS]
    fixed = [model for model in ranked if model in _ALWAYS]
    best = [model for model in ranked if model not in _ALWAYS][: _COMPARED - 1 - len(fixed)]
    kept = [model for model in ranked if model in (*fixed, *best)]
    return [OURS, *kept] if OURS in known else []


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

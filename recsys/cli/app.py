"""The command line: one command per stage and pipeline. Parse, load the config, call a pipeline, print.

Results go to stdout, logs and progress to stderr. Exit codes: 0 done, 2 error, 3 refused.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recsys.config import Config, home, load_config
from recsys.errors import ConfigError, RecsysError

# Pipelines are imported inside the commands: `--help` stays instant, and thread counts are set before the
# numerical libraries start.
if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

app = typer.Typer(
    help="Text-based recommender: encoder, collaborative filtering and a learned ranking, every night.\n\n"
    "Start with 'recsys demo-data --out data/demo' and 'recsys run --config configs/demo.yaml'. "
    "Everything is written below RECSYS_HOME (default ./data/home); relative raw-data paths of a config start "
    "from RECSYS_DATA (default: here). Exit codes: 0 done, 2 error, 3 refused by the gate or a sanity check.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Language(StrEnum):
    """Languages of the demo catalogue."""

    EN = "en"
    ZH = "zh"


ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", help="YAML file with every setting, such as configs/demo.yaml.")
]
RunDateOption = Annotated[
    str | None,
    typer.Option(
        "--run-date",
        metavar="YYYY-MM-DD",
        help="Only events before 00:00 UTC of this day are used. Default: the day after the snapshot's last event.",
    ),
]
UntilOption = Annotated[
    str | None,
    typer.Option(metavar="YYYY-MM-DD", help="Last run date of a range that starts with --run-date."),
]
AliasOption = Annotated[str, typer.Option(help="Whose encoder: champion, or challenger before anything was promoted.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


@app.command("demo-data")
def demo_data(
    out: Annotated[Path, typer.Option(help="Folder for items.jsonl.gz and interactions.csv.gz.")],
    users: Annotated[int, typer.Option(help="How many users.")] = 1500,
    items: Annotated[int, typer.Option(help="How many items.")] = 1200,
    days: Annotated[int, typer.Option(help="Length of the period, which starts on 2025-01-01.")] = 60,
    seed: Annotated[int, typer.Option(help="Same seed, same bytes.")] = 0,
    language: Annotated[Language, typer.Option(help="Language of titles and descriptions.")] = Language.EN,
) -> None:
    """Write a made-up catalogue and its users' events, to try everything with.

    Example: recsys demo-data --users 500 --language zh --out data/demo
    """
    _set_up(threads=2)
    from recsys.dataset.demo import write_demo
    from recsys.progress import log_stage, progress_bar

    with log_stage("demo data") as done, progress_bar("Users", users) as progress:
        write_demo(out, users=users, items=items, days=days, seed=seed, language=language.value, progress=progress)
        done(f"{users:,} users, {items:,} items, {days} days")
    typer.echo(out)


@app.command()
def ingest(config: ConfigOption, as_json: JsonOption = False) -> None:
    """Read the raw files, set bad rows aside, and write a snapshot.

    The snapshot lies in RECSYS_HOME/snapshots; its rejected.parquet holds every row set aside with the rule it broke.
    Next: recsys train.
    """
    settings = _load(config)
    from recsys.pipelines.ingest import run_ingest

    identity, ingested = run_ingest(settings, home(), datetime.now(UTC))
    if as_json:
        counts = {
            name: {"read": one.read, "kept": one.kept, "rejected": one.rejected}
            for name, one in ingested.counts.items()
        }
        _print_json({"snapshot": identity, "counts": counts})
        return
    typer.echo(f"snapshot {identity}")
    for name, one in ingested.counts.items():
        rules = ", ".join(f"{rule} {count:,}" for rule, count in one.rejected.items()) or "none"
        typer.echo(f"{name}: {one.kept:,} of {one.read:,} rows kept; rejected: {rules}")


@app.command()
def train(config: ConfigOption, run_date: RunDateOption = None) -> None:
    """Fit, measure on the test window, refit on everything, log to MLflow and register the challenger.

    Needs a snapshot (recsys ingest). Writes RECSYS_HOME/runs/RUN and an MLflow run. Next: recsys evaluate, then
    recsys promote. A fine-tuning that was killed goes on where it stood. Several processes fine-tune together when
    torchrun starts them: torchrun --nproc-per-node 2 -m recsys.cli.app train --config configs/demo.yaml
    """
    settings = _load(config)
    from recsys.pipelines.train import train_together

    trained = train_together(settings, home(), run_date)
    if trained is None:
        return
    _print_metrics(settings, trained.metrics)
    typer.echo(f"run {trained.run}: {trained.version.name} version {trained.version.number} is challenger")


@app.command()
def evaluate(
    config: ConfigOption,
    run: Annotated[str | None, typer.Option(help="Name of a run below runs/; default: the config's last.")] = None,
    against: Annotated[str, typer.Option(help="The model that segments are compared with.")] = "blend",
    as_json: JsonOption = False,
) -> None:
    """Show what a training measured: ours beside the baselines, for whom, and what was lost where. Changes nothing.

    Example: recsys evaluate --config configs/demo.yaml --json | jq .measured.losses
    """
    settings = _load(config)
    from recsys.artifacts.runs import read_run
    from recsys.evaluation.candidate_ledger import describe_losses, render_ledger
    from recsys.evaluation.comparison import OURS, render_beyond_accuracy
    from recsys.evaluation.segments import render_segments

    found = read_run(home(), settings.name, run)
    if as_json:
        tables = ("metrics", "segments", "catalogue", "ledger", "depths", "overlap")
        rows = {name: getattr(found, name).to_dicts() for name in tables}
        _print_json({"run": found.name, "measured": found.measured, **rows})
        return
    evaluation = settings.evaluation
    _print_metrics(settings, found.metrics)
    _print_metrics(settings, found.metrics, ("precision", "f1", "map", "recall_ips"))
    n, confidence = evaluation.n, evaluation.confidence
    _print_table(render_beyond_accuracy(found.metrics, found.catalogue, n, confidence=confidence))
    _print_table(render_segments(found.segments, OURS, against, evaluation.metric, n, confidence=confidence))
    _print_table(render_ledger(found.ledger))
    typer.echo("\n".join([f"run {found.name}", *describe_losses(found.measured)]))


@app.command()
def report(
    config: ConfigOption,
    run: Annotated[str | None, typer.Option(help="Name of a run below runs/; default: the config's last.")] = None,
    run_date: Annotated[
        str | None,
        typer.Option(
            "--run-date", metavar="YYYY-MM-DD", help="Published lists to show. Default: those of the newest run date."
        ),
    ] = None,
    users: Annotated[int, typer.Option(min=1, help="How many users to show at most.")] = 300,
    out: Annotated[Path | None, typer.Option(help="The file. Default: RECSYS_HOME/reports/RUN.html.")] = None,
) -> None:
    """Write one HTML page: is it better, for whom, what was lost where, what drifted, and what do users get.

    The page holds all it needs: it opens from disk and asks no network for anything. It is logged to the run's MLflow
    run too. Without published lists (recsys generate) it shows the run's own.

    Example: recsys report --config configs/demo.yaml --out report.html
    """
    settings = _load(config)
    from recsys.report.page import write_report

    typer.echo(write_report(settings, home(), run=run, run_date=run_date, users=users, out=out))


@app.command()
def promote(config: ConfigOption) -> None:
    """Compare the challenger with the champion on the same users; make it champion if it holds up.

    Exit code 3 and a sentence with the numbers if it does not; the champion then goes on serving. Next: recsys
    generate.
    """
    settings = _load(config)
    from recsys.pipelines.promote import promote as promote_pipeline

    version, reason = promote_pipeline(settings, home())
    typer.echo(f"{version.name} version {version.number} is champion: {reason}")


@app.command()
def rollback(config: ConfigOption) -> None:
    """Make the previous champion champion again.

    Next: recsys generate, which publishes its lists.
    """
    settings = _load(config)
    from recsys.pipelines.promote import rollback as rollback_pipeline

    left, serving = rollback_pipeline(settings, home())
    typer.echo(
        f"version {serving} is champion again, version {left} is not; "
        f"run 'recsys generate --config {config}' to publish its lists"
    )


@app.command()
def generate(
    config: ConfigOption, run_date: RunDateOption = None, until: UntilOption = None, as_json: JsonOption = False
) -> None:
    """Make the champion's lists for every active user and publish them in one step.

    Readers follow RECSYS_HOME/recommendations/CURRENT, which moves last. The same snapshot, champion and run date give
    the same bytes, also where a run was killed and started again: finished shards are kept. With --until every night
    of a range is made, in order, and those that are published already are left alone.
    Example: recsys generate --config configs/demo.yaml --run-date 2025-03-02
    """
    settings = _load(config)
    from recsys.pipelines.generate import generate as generate_pipeline
    from recsys.pipelines.generate import generate_range

    now = datetime.now(UTC)
    if until is None:
        made = [generate_pipeline(settings, home(), run_date, now)]
    elif run_date is None:
        raise ConfigError(f"--until {until}: no --run-date to start from; give both")
    else:
        made = generate_range(settings, home(), run_date, until, now)
    if as_json:
        told = [{"folder": str(one.folder), "run_date": one.run_date, "counts": one.counts} for one in made]
        _print_json(told[0] if until is None else told)
        return
    for one in made:
        typer.echo(f"{one.folder}: {one.counts['rows']:,} recommendations for {one.counts['users']:,} users")


@app.command()
def run(config: ConfigOption, run_date: RunDateOption = None) -> None:
    """Do everything once: ingest, train, evaluate, promote, generate. What a newcomer starts with.

    Prints our metrics beside the baselines, three users with their history and list, and where the results lie.
    """
    settings = _load(config)
    from recsys.pipelines.run import run_all
    from recsys.pipelines.show import show_users

    done = run_all(settings, home(), run_date, datetime.now(UTC))
    _print_metrics(settings, done.trained.metrics)
    for table in show_users(settings, home(), done.generated.run_date):
        _print_table(table)
    typer.echo(f"gate          {done.verdict}")
    typer.echo(f"lists         {done.generated.folder}")
    typer.echo(f"MLflow store  {done.store}")


@app.command()
def tune(
    config: ConfigOption,
    space: Annotated[
        Path, typer.Option("--space", "-s", help="YAML file of settings and ranges, such as configs/spaces/demo.yaml.")
    ],
    trials: Annotated[
        int, typer.Option(min=1, help="How many trials in all, those of an earlier call of this search included.")
    ] = 20,
    out: Annotated[
        Path | None,
        typer.Option(help="File for the config with the winner's settings. Default: RECSYS_HOME/tuning/NAME.yaml."),
    ] = None,
    run_date: RunDateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Search settings for quality and seconds, before the test window, and write the winner's config file.

    Needs a snapshot (recsys ingest). A search that was stopped goes on where it was. Next: recsys train with the new
    file, which measures it on the test window that the search never saw.

    Example: recsys tune --config configs/demo.yaml --space configs/spaces/demo.yaml --trials 30
    """
    settings = _load(config)
    from recsys.pipelines.tuning.result import describe_search, render_search, summarise_search
    from recsys.pipelines.tuning.search import tune as tune_pipeline

    tuned = tune_pipeline(config, settings, space, home(), run_date, trials, out)
    if as_json:
        _print_json(describe_search(tuned))
        return
    _print_table(render_search(tuned, settings))
    typer.echo("\n".join(summarise_search(tuned)))


@app.command()
def embed(
    config: ConfigOption,
    text: Annotated[
        list[str] | None,
        typer.Option("--text", "-t", help="A text; may be given again. Default: one per line of stdin."),
    ] = None,
    alias: AliasOption = "champion",
    as_json: JsonOption = False,
) -> None:
    """Print the vectors that the champion's encoder gives to texts: a line per text, numbers separated by tabs.

    Vectors have unit length, so the sum of products of two is their cosine. Only the first text.max_tokens tokens of a
    text count. Changes nothing.

    Example: cut -f2 titles.tsv | recsys embed --config configs/demo.yaml > vectors.tsv
    """
    settings = _load(config)
    from recsys.pipelines.search import embed_texts

    texts = text or _read_lines()
    vectors = embed_texts(settings, home(), texts, alias)
    # The shortest digits that read back as the same float32.
    rows = [[str(number) for number in vector] for vector in vectors]
    if as_json:
        pairs = zip(texts, rows, strict=True)
        _print_json([{"text": text, "vector": [float(number) for number in row]} for text, row in pairs], indent=None)
        return
    typer.echo("\n".join("\t".join(row) for row in rows))


@app.command()
def search(
    config: ConfigOption,
    text: Annotated[str, typer.Argument(help="What to look for, in any language that the checkpoint knows.")],
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="How many items at most.")] = 10,
    alias: AliasOption = "champion",
    available: Annotated[
        bool, typer.Option("--available/--all", help="Only available items, or those marked unavailable too.")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Show the items of the newest snapshot whose texts are nearest to a text, by the champion's encoder.

    Changes nothing. Items that joined since the training are found too.

    Example: recsys search --config configs/demo.yaml "a crew lost in space" --n 5
    """
    settings = _load(config)
    from recsys.pipelines.search import render_nearest
    from recsys.pipelines.search import search as search_pipeline

    nearest = search_pipeline(settings, home(), text, n, alias, available=available)
    if as_json:
        _print_json(nearest.to_dicts())
        return
    _print_table(render_nearest(nearest))


@app.command()
def export(
    config: ConfigOption,
    out: Annotated[Path, typer.Option(help="The folder to appear; an older export in its place is exchanged.")],
    int8: Annotated[bool, typer.Option("--int8", help="A quarter of the size; look at what it kept.")] = False,
    alias: AliasOption = "champion",
    as_json: JsonOption = False,
) -> None:
    """Write the champion's encoder as ONNX, for machines without torch, and tell how near its vectors are.

    Needs the extra recsys[export]. For sentence-transformers and transformers take the folder `encoder` of a bundle.

    Example: recsys export --config configs/demo.yaml --out encoder-onnx --int8
    """
    settings = _load(config)
    from recsys.pipelines.export import export_encoder, summarise_export

    exported = export_encoder(settings, home(), out, int8=int8, alias=alias)
    if as_json:
        _print_json({**vars(exported), "folder": str(exported.folder)})
        return
    typer.echo("\n".join(summarise_export(exported)))


@app.command()
def doctor(config: ConfigOption, as_json: JsonOption = False) -> None:
    """Check that everything is there that the other commands need. Changes nothing.

    Exit code 2 if something is missing or damaged; each line says what to do.
    """
    settings = _load(config)
    from rich.table import Table
    from rich.text import Text

    from recsys.pipelines.doctor import examine

    findings = examine(settings, home())
    if as_json:
        _print_json([vars(finding) for finding in findings])
    else:
        table = Table()
        for name in ("what", "state", "found"):
            table.add_column(name, overflow="fold")
        for finding in findings:
            table.add_row(*map(Text, (finding.name, finding.state, finding.found)))
        _print_table(table)
    if any(finding.state == "problem" for finding in findings):
        raise typer.Exit(2)


def _load(path: Path) -> Config:
    config = load_config(path)
    _set_up(config.threads)
    return config


def _set_up(threads: int) -> None:
    """Set thread counts and logging, in this one place and before the numerical libraries are imported.

    `implicit` brings its own threads and wants BLAS to keep to one; torch and LightGBM share OpenMP's count.
    """
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS"):
        os.environ[name] = str(threads)
    if sys.stderr.isatty():
        # Through rich's own console, so that a log line does not cut through a progress bar.
        from rich.highlighter import NullHighlighter
        from rich.logging import RichHandler

        from recsys.progress import console

        logging.basicConfig(
            format="%(message)s",
            handlers=[
                RichHandler(
                    console=console,
                    show_path=False,
                    highlighter=NullHighlighter(),
                    log_time_format="%H:%M:%S",
                    omit_repeated_times=False,
                )
            ],
        )
    else:
        logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    logging.getLogger("recsys").setLevel(logging.INFO)


def _read_lines() -> list[str]:
    """Return the lines of stdin; bytes that are not UTF-8 become what no text holds, for the pipeline to name."""
    if sys.stdin.isatty():
        typer.echo("texts, one per line; end with Ctrl-D", err=True)
    content = sys.stdin.buffer.read().decode("utf-8-sig", errors="surrogateescape")
    # Not splitlines: a text may hold what that takes for a line's end.
    return [line.removesuffix("\r") for line in content.removesuffix("\n").split("\n")] if content else []


def _print_metrics(
    config: Config, metrics: pl.DataFrame, names: Sequence[str] = ("ndcg", "recall", "mrr", "hit_rate")
) -> None:
    from recsys.evaluation.comparison import OURS, render_metric_table

    evaluation = config.evaluation
    _print_table(render_metric_table(metrics, OURS, names, evaluation.n, confidence=evaluation.confidence))


def _print_table(table: object) -> None:
    from rich.console import Console

    console = Console()
    # A log file or a pipe has no width of its own; wide enough that no cell is cut.
    (console if console.is_terminal else Console(width=160)).print(table)


def _print_json(content: object, indent: int | None = 2) -> None:
    typer.echo(json.dumps(content, indent=indent, ensure_ascii=False))


def main() -> None:
    """Run the command line; an error of ours is its message and its exit code, not a traceback."""
    try:
        app()
    except RecsysError as error:
        typer.echo(f"error: {error}" if error.exit_code == 2 else f"refused: {error}", err=True)
        sys.exit(error.exit_code)

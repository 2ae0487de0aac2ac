"""The commands by group: where each is defined, and the line that `recsys --help` prints for it.

A command's module is imported only when the command is called, so help and completion stay fast. Tests check that
each line is the first sentence of the command's own help.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """One command.

    Attributes:
        group: heading in `recsys --help`.
        name: as it is typed.
        target: module below `recsys.cli`, and the function in it.
        summary: first sentence of its help.
    """

    group: str
    name: str
    target: tuple[str, str]
    summary: str


_START = "Start here"
_TRAINING = "Data and training"
_LISTS = "Promotion and lists"
_PEOPLE = "People's data"
_CHECKS = "Results and checks"
_ENCODER = "Encoder"

ENTRIES = (
    Entry(_START, "demo-data", ("data", "demo_data"), "Write a synthetic catalogue and events to try recsys with."),
    Entry(_START, "init", ("init", "init"), "Inspect raw files and write a config that reads them."),
    Entry(_START, "run", ("run", "run"), "Run every step once: ingest, train, evaluate, promote, generate."),
    Entry(_TRAINING, "ingest", ("data", "ingest"), "Read the raw files, validate every row and write a snapshot."),
    Entry(_TRAINING, "train", ("training", "train"), "Train and measure a model, and register it as the challenger."),
    Entry(_TRAINING, "runs", ("runs", "runs"), "List trainings with date, snapshot, verdict, model version and state."),
    Entry(_TRAINING, "register", ("training", "register"), "Register a trained model whose registration failed."),
    Entry(_TRAINING, "tune", ("training", "tune"), "Tune hyperparameters for quality and run time."),
    Entry(
        _LISTS,
        "promote",
        ("registry", "promote"),
        "Compare the challenger with the champion, and promote it if it passes the gate.",
    ),
    Entry(
        _LISTS,
        "rollback",
        ("registry", "rollback"),
        "Roll back to an earlier champion and publish its lists again.",
    ),
    Entry(
        _LISTS,
        "history",
        ("registry", "history"),
        "Print the promotion log: which version served when, who changed it, and why.",
    ),
    Entry(
        _LISTS,
        "copy-version",
        ("registry", "copy_version"),
        "Copy a version to another MLflow store, for example from staging to production.",
    ),
    Entry(
        _LISTS,
        "generate",
        ("lists", "generate"),
        "Make the champion's lists for every active user and publish them in one step.",
    ),
    Entry(
        _LISTS,
        "lists",
        ("published", "lists"),
        "Show the published nights, which one each output serves and whether files are intact; or move readers.",
    ),
    Entry(_LISTS, "show", ("show", "show"), "Show a user's history, and the recommended list with reasons below it."),
    Entry(
        _LISTS,
        "canary",
        ("canary", "canary"),
        "Show, start or stop a canary: a share of the users gets another version's lists on the same night.",
    ),
    Entry(_LISTS, "monitor", ("monitor", "monitor"), "Compare tonight's data and lists with the last good nights."),
    Entry(
        _LISTS,
        "prune",
        ("prune", "prune"),
        "Delete what is no longer needed: old snapshots, runs, files of model versions, caches, leftovers.",
    ),
    Entry(
        _LISTS,
        "backup",
        ("backup", "backup"),
        "Back up what a night needs: registry, promotion log, bundles in use, snapshots, lists and config.",
    ),
    Entry(
        _LISTS,
        "restore",
        ("backup", "restore"),
        "Fill an empty RECSYS_HOME from a backup, on any machine and at any path.",
    ),
    Entry(
        _PEOPLE,
        "forget",
        ("privacy", "forget"),
        "Permanently remove users from snapshots, lists, runs, caches, reports, the table and the store.",
    ),
    Entry(
        _PEOPLE,
        "pseudonyms",
        ("privacy", "pseudonyms"),
        "Write a table of user ids and their pseudonyms, from the raw interactions.",
    ),
    Entry(
        _CHECKS,
        "evaluate",
        ("inspection", "evaluate"),
        "Show whether a run is better than the baselines, and by how much.",
    ),
    Entry(
        _CHECKS,
        "report",
        ("inspection", "report"),
        "Write a self-contained HTML report: metrics, segments, losses, drift and sample lists.",
    ),
    Entry(_CHECKS, "doctor", ("inspection", "doctor"), "Check environment, data, store and published lists."),
    Entry(
        _CHECKS,
        "freshness",
        ("inspection", "freshness"),
        "Check whether the data for a night has arrived in the raw files.",
    ),
    Entry(
        _CHECKS,
        "ab",
        ("ab", "ab"),
        "Compare two variants by user outcomes: difference, confidence interval, verdict.",
    ),
    Entry(_ENCODER, "search", ("encoder", "search"), "Find items by meaning, with the champion's encoder."),
    Entry(_ENCODER, "embed", ("encoder", "embed"), "Embed texts with the champion's encoder (TSV)."),
    Entry(
        _ENCODER,
        "export",
        ("encoder", "export"),
        "Export the champion's encoder to ONNX, for machines without torch.",
    ),
)

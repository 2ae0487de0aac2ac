"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

CONFIG_VARIABLE = "RECSYS_CONFIG"
ConfigOption = Annotated[
    Path,
    typer.Option(
        "--config", "-c", envvar=CONFIG_VARIABLE, metavar="FILE", help="YAML config file, such as configs/demo.yaml."
    ),
]
RunDateOption = Annotated[
    str | None,
    typer.Option(
        "--run-date",
        metavar="YYYY-MM-DD",
        help="Use only events before 00:00 UTC of this day. Default: the day after the snapshot's last event.",
    ),
]
RunOption = Annotated[
    str | None, typer.Option(metavar="RUN", help="Name of a run in RECSYS_HOME/runs. Default: this config's last run.")
]
AliasOption = Annotated[
    str, typer.Option(metavar="ALIAS", help="Model version whose encoder to use: champion or challenger.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
FullOption = Annotated[bool, typer.Option("--full", help="Print everything.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Log details, and the traceback of an error.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Log only warnings; no progress bars or next steps.")]
LogFileOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Also append the log to this file, with dates, levels and modules."),
]

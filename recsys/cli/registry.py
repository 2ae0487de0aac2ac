"""Commands that decide which model version serves."""

from __future__ import annotations

from recsys.cli.options import ConfigOption, JsonOption
from recsys.cli.output import print_json, print_lines
from recsys.cli.setup import load_settings


def promote(config: ConfigOption, as_json: JsonOption = False) -> None:
    """Compare the challenger with the champion, and promote it if it passes the gate.

    Both are measured on the same users. If the gate refuses, the exit code is 3, the message gives the numbers, and the
    champion continues to serve.

    Next: `recsys generate`.

    Example: `recsys promote --config configs/demo.yaml`
    """
    settings = load_settings(config)
    from recsys.config import home
    from recsys.pipelines.promote import promote as promote_pipeline

    version, reason = promote_pipeline(settings, home())
    if as_json:
        print_json({"model": version.name, "champion": version.number, "reason": reason})
        return
    print_lines(f"{version.name} version {version.number} is the champion: {reason}")


def rollback(config: ConfigOption, as_json: JsonOption = False) -> None:
    """Make the previous champion the champion again.

    Next: `recsys generate`, which publishes its lists.

    Example: `recsys rollback --config configs/demo.yaml`
    """
    settings = load_settings(config)
    from recsys.config import home
    from recsys.pipelines.promote import rollback as rollback_pipeline

    replaced, champion = rollback_pipeline(settings, home())
    if as_json:
        print_json({"champion": champion, "replaced": replaced})
        return
    print_lines(
        f"rolled back from version {replaced} to {champion}",
        f"next: recsys generate --config {config}, which publishes its lists",
    )

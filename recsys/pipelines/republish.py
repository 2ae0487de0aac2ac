"""After a rollback: the lists of the version that serves again, in every output."""

from __future__ import annotations

from pathlib import Path

from recsys.artifacts.night import Night
from recsys.artifacts.outputs import fill_outputs, list_other_outputs
from recsys.artifacts.recommendations import check_owner, read_pointer
from recsys.artifacts.replaced_lists import republish
from recsys.config import Config
from recsys.progress import logger
from recsys.storage.locks import lock


def republish_lists(config: Config, home: Path, version: str) -> str | None:
    """Publish a version's kept lists for the run date that readers see, and fill every output with them.

    No list is made. Where that version's lists are published already, only outputs that do not hold them are filled.

    Args:
        config: names the outputs.
        home: the folder of the lists.
        version: number of the model version.

    Returns:
        The run date; None where nothing is published or no lists of the version are kept for it: then nothing changed.

    Raises:
        ArtifactError: the home publishes the lists of another config, lists are being made, the kept lists are damaged,
            or an output cannot be written; outputs before it hold the lists.
    """
    with lock(home, "generation"):
        check_owner(home, config.name)
        run_date = read_pointer(home)
        if run_date is None or not republish(home, run_date, version):
            return None
        fill_outputs(list_other_outputs(home, config.generation), Night(run_date, {}))
        logger.info("lists for %s: readers now see the lists of version %s", run_date, version)
        return run_date

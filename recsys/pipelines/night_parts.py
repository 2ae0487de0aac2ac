"""`recsys generate --shards I/N`: one part of a night's shards, while other processes make the others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from recsys.artifacts.night import Night
from recsys.artifacts.recommendations import find_shards, is_published, open_shards
from recsys.artifacts.shards import ShardFolder
from recsys.config import Config
from recsys.dataset.windows import resolve_end
from recsys.errors import ArtifactError
from recsys.pipelines.night_inputs import NightInputs
from recsys.pipelines.night_lists import Counts, NightLists, Part, sum_counts
from recsys.progress import logger
from recsys.storage.locks import lock

# Another part needs the lock alone only for as long as it takes to make or empty the folder of the shards.
_WAIT_SECONDS = 5.0
_ATTEMPTS = 12


@dataclass(frozen=True)
class MadePart:
    """A finished part of a night.

    Attributes:
        run_date: YYYY-MM-DD.
        part: which.
        counts: of its shards; empty where the night is already published or the part has no shard.
    """

    run_date: str
    part: Part
    counts: Counts


def generate_part(
    config: Config, home: Path, run_date: str | None, part: Part, now: datetime, *, allow_future: bool = False
) -> MadePart:
    """Make one part of the shards of a night; `generate` publishes the night when all parts are made.

    The parts may be made at the same time, by machines that share the home. Shards are the same whoever makes them,
    so the published bytes are those of a night that one process made. `generate` makes the missing lists.

    Args:
        config: as for `generate`.
        home: as for `generate`, shared by all that make parts.
        run_date: as for `generate`.
        part: which shards to make.
        now: as for `generate`.
        allow_future: as in `NightOptions`.

    Raises:
        Refused: as for `generate`, except for the sanity checks, which need the whole night.
        ArtifactError: another process makes the same part, publishes, or makes shards of other inputs for the night.
    """
    with lock(home, f"shards-{part.number}-of-{part.parts}"):
        inputs = NightInputs.load(config, home)
        end = resolve_end(inputs.snapshot.interactions, run_date)
        date = run_date or (end or now).date().isoformat()
        inputs.refuse_date(date, end, now, allow_future=allow_future)
        night = Night(date, inputs.describe(home, date, end))
        with _share_shards(home, night) as shards:
            if shards is None:
                logger.info("lists for %s: already published, nothing to do", date)
                return MadePart(date, part, {})
            counts = NightLists(inputs, home, date, end, shards, part).make()
    return MadePart(date, part, sum_counts(counts.values()))


@contextmanager
def _share_shards(home: Path, night: Night) -> Iterator[ShardFolder | None]:
    """Open the folder of the night's shards and share it with the other parts; None: the night is already published.

    Shards of other inputs are deleted only under a lock that no part shares, so no part can ever write into the folder
    of other inputs.
    """
    for attempt in range(_ATTEMPTS):
        with lock(home, "generation", shared=True, wait_seconds=_WAIT_SECONDS):
            shards = find_shards(home, night.run_date, night.facts)
            published = is_published(home, night.run_date, night.facts) is not None
            if shards is not None or published:
                yield None if published else shards
                return
        try:
            with lock(home, "generation", wait_seconds=_WAIT_SECONDS):
                open_shards(home, night.run_date, night.facts)
        except ArtifactError:
            # Others may be making shards of other inputs, such as an older snapshot, or have just begun with these.
            if attempt == _ATTEMPTS - 1:
                raise

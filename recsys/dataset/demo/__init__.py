"""A synthetic catalogue and its users, with something to learn from text, history and time.

The demo is a shop of stories in English or Chinese. Its users choose by hidden properties of the stories: theme, motif,
mood, series, quality and age. Themes come in pairs that please the same users although no word connects them, so an
encoder has something to learn from behaviour.
"""

from __future__ import annotations

import contextlib
import gzip
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, cast

from recsys.dataset.demo.catalogue import draw_catalogue
from recsys.dataset.demo.chinese import CHINESE
from recsys.dataset.demo.english import ENGLISH
from recsys.dataset.demo.prose import tell_items
from recsys.dataset.demo.world import draw_interactions
from recsys.errors import ArtifactError, ConfigError
from recsys.storage.files import replace_file

__all__ = ["write_demo"]

_LANGUAGES = {"en": ENGLISH, "zh": CHINESE}
_LEAST = {"users": 1, "items": 20, "days": 7, "seed": 0}


def write_demo(
    out: Path,
    *,
    users: int,
    items: int,
    days: int,
    seed: int,
    language: str = "en",
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write a demo data set: `out/items.jsonl.gz` and `out/interactions.csv.gz`.

    The items have id, title, description, tags (list), category, author, available and created_at (ISO 8601,
    UTC), one JSON object per line, in order of release; 70 % are released before the start, the others evenly
    over the period. The catalogue lists each item ten days before its release.

    The interactions have user_id, item_id, event (view, click, like, comment, share or
    purchase) and timestamp (ISO 8601, UTC), ordered by user, then time. The period begins at
    2025-01-01T00:00:00Z.

    Equal arguments give equal bytes; the events are the same in both languages; memory does not grow with the number
    of users. Both files are moved into place at the end, so neither is ever half written.

    Args:
        out: folder, created if missing; files with these two names are replaced.
        users: users, each with at least one event; at least 1.
        items: items of the catalogue; at least 20.
        days: length of the period; at least 7.
        seed: of all random numbers; at least 0.
        language: of the texts, `en` or `zh`.
        progress: called after each block of users with the number of users it held.

    Raises:
        ConfigError: an argument is out of range; nothing is written.
        ArtifactError: the folder or the files cannot be written.
    """
    found = {"users": users, "items": items, "days": days, "seed": seed}
    for name, least in _LEAST.items():
        if found[name] < least:
            raise ConfigError(f"demo data: {name} is {found[name]}, expected {least} or more; choose a larger --{name}")
    if language not in _LANGUAGES:
        raise ConfigError(f"demo data: language is {language!r}, expected en or zh; use --language en")
    catalogue = draw_catalogue(items, days, seed)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with (
            _replace(out / "items.jsonl.gz") as items_file,
            _replace(out / "interactions.csv.gz") as events_file,
        ):
            for block in tell_items(catalogue, _LANGUAGES[language], seed):
                block.write_ndjson(items_file)
            for number, block in enumerate(draw_interactions(catalogue, users, days, seed)):
                block.write_csv(events_file, include_header=number == 0, datetime_format="%Y-%m-%dT%H:%M:%SZ")
                if progress:
                    progress(block["user_id"].n_unique())
    except OSError as error:
        raise ArtifactError(
            f"demo data in {out}: cannot be written ({error.strerror or error}); choose another --out"
        ) from error


@contextlib.contextmanager
def _replace(path: Path) -> Iterator[IO[bytes]]:
    """Open a gzip stream that becomes the file at the path when the block ends; after an error nothing changes."""
    # Neither name nor time goes into the header: equal contents are equal bytes.
    with (
        replace_file(path, "choose another --out") as staging,
        staging.open("wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0, compresslevel=6) as stream,
    ):
        yield cast(IO[bytes], stream)

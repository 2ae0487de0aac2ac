"""The newest event of the raw files, from their column of times alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from recsys.config import DatasetConfig
from recsys.dataset.ingestion.column_forms import TimeColumn
from recsys.dataset.raw.reading import read_batches


def find_newest_time(config: DatasetConfig, now: datetime) -> datetime | None:
    """Return the time of the newest raw interaction, in UTC, as ingest would read it.

    The files are read in batches and only for their times, so memory does not grow with them. Rows that ingest rejects
    for another reason, such as an unknown item, count here: they have arrived.

    Args:
        config: raw files and the meaning of their columns.
        now: aware instant; events later than a day after it do not count, as for ingest.

    Returns:
        None for data without times, and where no row has a readable time.

    Raises:
        DataError: files cannot be read, or their times cannot be right.
    """
    files = config.interactions
    name = dict(files.columns).get("time")
    if name is None:
        return None
    column = TimeColumn("interactions", "time", files, files.time_zone, now)
    latest = now.astimezone(UTC) + timedelta(days=1)
    newest: datetime | None = None
    for batch in read_batches("interactions", files, {"time": name}):
        times, _ = column.read(batch.values["time"])
        last = times.filter(times <= latest).max()
        if isinstance(last, datetime) and (newest is None or last > newest):
            newest = last
    column.check()
    return newest

"""Settings of `recsys prune`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from recsys.config.section import Count, Section

Days = Annotated[float, Field(gt=0)]


class RetentionConfig(Section):
    """What `recsys prune` keeps. What serves, or is needed by what serves, is always kept."""

    versions: Count = 3
    """Number of newest model versions whose files are kept, even if the gate refused them."""
    former_champions: Annotated[int, Field(ge=0)] = 3
    """Number of former champions whose files are kept, so that `recsys rollback` can return to them."""
    runs: Count = 8
    """Number of newest runs that are kept, with their snapshots and reports."""
    snapshots: Count = 3
    """Number of newest snapshots that are kept, even if nothing needs them."""
    snapshots_of_nights: Count = 7
    """Number of newest published nights whose snapshots are kept; `recsys report --run-date` reads them."""
    replaced_lists: Count = 7
    """Number of newest published nights whose replaced lists are kept, so that a rollback can publish them again."""
    searches: Count = 5
    """Number of newest searches of `recsys tune` whose trials are kept."""
    unregistered_days: Days = 30
    """Age at which an unregistered training is deleted; until then, `recsys register` can register it."""
    unfinished_days: Days = 7
    """Age at which unused shards and fine-tuning checkpoints of interrupted commands are deleted."""
    cache_days: Days = 30
    """Time since the last use after which the cached embeddings or factors of a model are deleted."""
    cache_megabytes: Count = 2_000
    """Maximum size of each cache, embeddings and factors; above it, the oldest files are deleted."""
    leftover_hours: Annotated[float, Field(gt=0)] = 24
    """Age at which temporary files of killed commands are deleted."""

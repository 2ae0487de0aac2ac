"""How long the models of two versions take to make lists, timed in turns on the same users and the same machine."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recsys.artifacts.snapshots import read_snapshot
from recsys.candidates.merge import map_blocks
from recsys.config import Config
from recsys.dataset.histories import Histories, build_histories
from recsys.dataset.windows import resolve_end
from recsys.pipelines.compare import load_bundle
from recsys.progress import log_stage, track
from recsys.registry.tracking import Store
from recsys.registry.versions import BUNDLE, Version
from recsys.serving.block_lists import BlockLists
from recsys.serving.list_maker import ListMaker, UserLimits

# Users whose lists are timed, spread evenly over all. In each round every version makes them once; the fastest counts,
# since other work on the machine only ever makes a round slower.
_USERS = 1_000
_ROUNDS = 3


@dataclass(frozen=True)
class _Timed:
    """The lists of one version as a night would make them."""

    maker: ListMaker
    users: Histories
    limits: UserLimits
    length: int

    def time(self) -> float:
        """Return the seconds of making all lists once."""
        started = time.perf_counter()
        map_blocks(
            lambda first, block: self.maker.make_lists(
                block, self.limits.select(first, block.n_users), self.length, with_reasons=False
            ),
            self.users,
        )
        return time.perf_counter() - started


def time_lists(
    config: Config, home: Path, store: Store, versions: Mapping[str, Version]
) -> tuple[dict[str, float], int]:
    """Return the seconds per 1,000 users of each version's model that serves, by the given names, and the users timed.

    Only figures of one call can be compared: they depend on the machine and on what else it does.

    Args:
        config: its dataset and generation sections are used; the models have their own settings.
        home: has the snapshot.
        store: has the versions.
        versions: name -> version. The snapshot is that of the first.

    Raises:
        RegistryError: a version cannot be read.
        ArtifactError: the snapshot is missing.
    """
    first = next(iter(versions.values()))
    snapshot = read_snapshot(home, config.name, config.dataset.model_dump(mode="json"), first.tags["snapshot"])
    end = resolve_end(snapshot.interactions, None)
    histories = build_histories(snapshot.interactions, snapshot.items, end)
    chosen = np.unique(np.linspace(0, histories.n_users - 1, _USERS).astype(np.int64))
    users = histories.take(histories.user_ids.gather(chosen))
    block_lists = BlockLists.read(config.generation.rules, snapshot.items["item_id"], config.dataset)

    def prepare(version: Version) -> _Timed:
        bundle = load_bundle(store, version, BUNDLE)
        recommender = bundle.prepare(block_lists.withhold(snapshot.items), histories)
        maker = ListMaker(recommender, bundle.ranker, config.generation, histories.ages_until)
        return _Timed(maker, users, UserLimits.of(users, block_lists.pairs), config.generation.n)

    with log_stage("speed of the lists") as done:
        timed = {name: prepare(version) for name, version in versions.items()}
        for lists in timed.values():
            # The first time compiles and fills caches.
            lists.time()
        rounds = [{name: lists.time() for name, lists in timed.items()} for _ in track(range(_ROUNDS), "Rounds")]
        fastest = {name: min(each[name] for each in rounds) * 1_000 / users.n_users for name in timed}
        done(", ".join(f"{name} {seconds:.2f} s" for name, seconds in fastest.items()) + " per 1,000 users")
    return fastest, users.n_users

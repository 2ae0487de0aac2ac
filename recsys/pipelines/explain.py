"""`recsys show --features`: what a published list was ranked by. Read-only, except for the embedding cache."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys.artifacts.recommendations import find_published
from recsys.artifacts.snapshots import open_snapshot
from recsys.config import Config
from recsys.dataset.histories import stream_histories
from recsys.dataset.windows import resolve_end
from recsys.errors import DataError
from recsys.pipelines.compare import load_bundle
from recsys.pipelines.night_inputs import NightInputs, Variant
from recsys.pipelines.show import UserLists
from recsys.progress import format_count, log_stage, progress_bar
from recsys.ranking.contributions import find_contributions
from recsys.ranking.evidence import Evidence, Nearness
from recsys.registry.tracking import connect
from recsys.registry.versions import BUNDLE, need_number
from recsys.serving.batch_recommender import BatchRecommender
from recsys.serving.block_lists import BlockLists
from recsys.serving.list_maker import Lists, UserLimits
from recsys.storage.folders import read_manifest
from recsys.storage.home import embeddings_folder, list_folder
from recsys.text.embedding_cache import EmbeddingCache


@dataclass(frozen=True)
class SourceScore:
    """What one source says about an item.

    Attributes:
        name: of the source.
        rank: among its proposals; None: it did not propose the item.
        z: its score in standard deviations above the mean of the user's candidates; None: it has no score.
        weight: of that in the blend.
    """

    name: str
    rank: int | None
    z: float | None
    weight: float


@dataclass(frozen=True)
class Contribution:
    """What one feature adds to an item's score.

    Attributes:
        feature: its name.
        value: None where it is missing.
        added: to the score of the trees (Shapley values, in LightGBM's units), or to the blend where that ranks alone.
    """

    feature: str
    value: float | None
    added: float


@dataclass(frozen=True)
class Explanation:
    """Why an item has its rank.

    Attributes:
        rank: in the published list.
        item_id: of the item.
        ranked_by: `trees`, `blend`, or `fallback` for an item that was no candidate: it fills a short list.
        sources: in the order of the config.
        contributions: largest amount first.
    """

    rank: int
    item_id: str
    ranked_by: str
    sources: tuple[SourceScore, ...]
    contributions: tuple[Contribution, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        return asdict(self)


@dataclass(frozen=True)
class ExplainedList:
    """The rows of a list, explained.

    Attributes:
        rows: best first.
        note: why the numbers may differ from those of the night; empty: made again, the list is the published one.
    """

    rows: tuple[Explanation, ...]
    note: str


def explain_list(config: Config, home: Path, user: UserLists) -> ExplainedList:
    """Make a user's list again with the model version that made it, and return what its rows were ranked by.

    Args:
        config: names the model and the snapshot.
        home: the folder of snapshots, lists and the default MLflow store.
        user: with a published list.

    Raises:
        DataError: the user has no list.
        RegistryError: the version no longer exists, or its files were pruned.
        ArtifactError: there is no snapshot, or the night's manifest is damaged.
    """
    if not user.rows:
        raise DataError(f"user '{user.shown_id}': has no list for {user.run_date}, so there is no rank to explain")
    number = user.rows[0].model_version
    store = connect(home, config)
    version = need_number(store, config.model_name, number, "its lists cannot be explained; run 'recsys generate'")
    with log_stage("explanation") as done:
        snapshot = open_snapshot(home, config.name, config.dataset.model_dump(mode="json"))
        bundle = load_bundle(store, version, BUNDLE)
        blocked = BlockLists.read(config.generation.rules, snapshot.items["item_id"], config.dataset)
        settings = bundle.config.model_copy(update={"dataset": config.dataset})
        bundle = replace(bundle, config=settings, block_lists=blocked)
        night = NightInputs(config, snapshot, Variant("champion", version, bundle), pl.DataFrame())
        items = blocked.withhold(snapshot.items)
        histories = stream_histories(snapshot.interactions, items, resolve_end(snapshot.interactions, user.run_date))
        with progress_bar("Embedding", items.height) as progress:
            cache = EmbeddingCache(embeddings_folder(home))
            recommender = bundle.prepare(items, histories, progress=progress, cache=cache)
        shown = night.find_shown_parts(home, user.run_date) if user.run_date in find_published(home) else []
        # No reasons are written, so no evidence is counted for them.
        evidence = Evidence.blank(items.height, Nearness(1.0, 1.0))
        blocked_pairs = bundle.block_lists.pairs
        maker = BatchRecommender(
            config, bundle, recommender, number, evidence, histories.ages_until, blocked_pairs, shown
        )
        own = histories.take(pl.Series([user.user_id], dtype=pl.String))
        limits = UserLimits.of(own, maker.blocked, maker.read_shown(own))
        lists = maker.list_maker.make_lists(own, limits, config.generation.n, with_reasons=False)
        done(f"{format_count(len(user.rows), 'item')} of version {number}")
    again = [items["item_id"][int(item)] for item in lists.items[0] if item >= 0]
    manifest = read_manifest(list_folder(home, user.run_date), "run 'recsys generate' for that date")
    same = [row.item_id for row in user.rows] == again
    return ExplainedList(_explain(user, maker, lists), "" if same else _note(manifest, snapshot.id))


def _note(manifest: dict[str, Any], snapshot: str) -> str:
    """Return why a list that is made again differs from the published one."""
    if manifest.get("snapshot") != snapshot:
        return (
            f"the list was made from snapshot {manifest.get('snapshot')}, these numbers from {snapshot}, which would "
            "change the list"
        )
    return "the recomputed list differs from the published one: settings, block lists or earlier lists have changed"


def _explain(user: UserLists, maker: BatchRecommender, lists: Lists) -> tuple[Explanation, ...]:
    ranker, ids = maker.bundle.ranker, maker.recommender.items["item_id"]
    added = find_contributions(ranker, lists.features, lists.candidates.starts)
    rows = {ids[int(item)]: row for row, item in enumerate(lists.candidates.items)}
    explained = []
    for listed in user.rows:
        row = rows.get(listed.item_id)
        if row is None:
            explained.append(Explanation(listed.rank, listed.item_id, "fallback", (), ()))
            continue
        order = np.argsort(-np.abs(added.amounts[row]), kind="stable")
        contributions = tuple(
            Contribution(
                added.features[feature],
                _number(added.values[feature][row]),
                float(added.amounts[row, feature]),
            )
            for feature in order
            if added.amounts[row, feature]
        )
        sources = tuple(
            SourceScore(
                name,
                _whole(lists.features[f"{name}_rank"][row]),
                _number(lists.features[f"{name}_z"][row]),
                ranker.blend.weights.get(name, 0.0),
            )
            for name in maker.recommender.source_names
        )
        ranked_by = "blend" if ranker.blend_share is None else "trees"
        explained.append(Explanation(listed.rank, listed.item_id, ranked_by, sources, contributions))
    return tuple(explained)


def _number(value: np.float32) -> float | None:
    return None if np.isnan(value) else float(value)


def _whole(value: np.float32) -> int | None:
    return None if np.isnan(value) else int(value)

"""The bundle: all fitted parts that serve together, as one folder without pickle."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from recsys.candidates.sources import ItemStatistics, Source, make_sources
from recsys.candidates.union import propose
from recsys.collab.als import AlsModel
from recsys.collab.neighbours import NeighbourModel, fit_item_to_item, fit_transitions
from recsys.config import Config, parse_config
from recsys.dataset.histories import Histories, build_histories, find_recommendable
from recsys.errors import DataError
from recsys.features.features import make_features, name_features
from recsys.ranking.lists import name_lists, rank_candidates
from recsys.ranking.ranker import Ranker
from recsys.text.encoder import Encoder, Progress
from recsys.text.interest import InterestModel
from recsys.text.item_text import hash_texts, make_texts


@dataclass(frozen=True)
class StageOne:
    """The fitted models behind the sources, over one catalogue."""

    item_ids: pl.Series
    als: AlsModel
    item_to_item: NeighbourModel
    transitions: NeighbourModel
    interest: InterestModel

    @classmethod
    def fit(cls, histories: Histories, interest: InterestModel, config: Config) -> StageOne:
        """Fit the collaborative models on histories as of their cut-off, beside a fitted interest model."""
        return cls(
            item_ids=histories.item_ids,
            als=AlsModel.fit(histories, config.collab.als, config.seed, config.threads),
            item_to_item=fit_item_to_item(histories, config.collab.item_to_item, config.threads),
            transitions=fit_transitions(histories, config.collab.transitions),
            interest=interest,
        )

    def align(self, item_ids: pl.Series) -> StageOne:
        """Return the models over another catalogue; they say nothing about items they do not know."""
        if self.item_ids.equals(item_ids):
            return self
        return StageOne(
            item_ids=item_ids,
            als=self.als.align(self.item_ids, item_ids),
            item_to_item=self.item_to_item.align(self.item_ids, item_ids),
            transitions=self.transitions.align(self.item_ids, item_ids),
            interest=self.interest,
        )


@dataclass(frozen=True)
class Recommender:
    """The sources over one catalogue as of one instant: proposes candidates and describes them.

    Attributes:
        items: `Items`, the catalogue.
        statistics: of all users' histories, not only of those at hand.
        embeddings: (n_items, embedding_size) float32, unit rows.
        sources: over this catalogue.
        recommendable: (n_items) bool.
    """

    config: Config
    items: pl.DataFrame
    statistics: ItemStatistics
    embeddings: NDArray[np.float32]
    sources: list[Source]
    recommendable: NDArray[np.bool_]

    @classmethod
    def prepare(
        cls,
        config: Config,
        stage_one: StageOne,
        items: pl.DataFrame,
        embeddings: NDArray[np.float32],
        statistics: ItemStatistics,
        cutoff: datetime | None,
    ) -> Recommender:
        """Align the models with the catalogue and make the sources."""
        aligned = stage_one.align(items["item_id"])
        sources = make_sources(
            config.candidates,
            statistics,
            aligned.als,
            aligned.item_to_item,
            aligned.transitions,
            aligned.interest,
            embeddings,
        )
        return cls(config, items, statistics, embeddings, sources, find_recommendable(items, cutoff))

    @property
    def source_names(self) -> list[str]:
        """Names of the sources, in order."""
        return [source.name for source in self.sources]

    def propose(self, histories: Histories) -> pl.DataFrame:
        """Return `Candidates` of these users."""
        return propose(
            self.sources,
            self.config.candidates.depths,
            histories,
            self.recommendable,
            repeats=self.config.dataset.repeats,
        )

    def describe(self, candidates: pl.DataFrame, histories: Histories) -> pl.DataFrame:
        """Return the candidates' features."""
        return make_features(candidates, histories, self.items, self.statistics, self.embeddings, self.source_names)

    @property
    def features(self) -> list[str]:
        """Names of the feature columns, in order."""
        return name_features(self.source_names)


@dataclass(frozen=True)
class Bundle:
    """Encoder, stage-one models and ranker of one training, with the catalogue they were trained on.

    Attributes:
        config: the resolved settings of the training.
        cutoff: nothing in the bundle has seen this instant or later; None for data without times.
        stage_one: CF factors, neighbours, transitions and the interest model.
        ranker: blend and trees.
        encoder: the fine-tuned BERT.
        items: `Items` at training.
        embeddings: (n_items, embedding_size) float32 of those items' texts.
        statistics: of the histories at training.
    """

    config: Config
    cutoff: datetime | None
    stage_one: StageOne
    ranker: Ranker
    encoder: Encoder
    items: pl.DataFrame
    embeddings: NDArray[np.float32]
    statistics: ItemStatistics

    def embed(self, items: pl.DataFrame, progress: Progress | None = None) -> NDArray[np.float32]:
        """Return the embeddings of a catalogue; only texts the bundle has not met are encoded.

        Raises:
            DataError: the catalogue lacks a column that makes the texts.
        """
        fields = self.config.text.fields
        lacking = [field for field in fields if field not in items.columns]
        if lacking:
            raise DataError(
                f"catalogue: no column {', '.join(map(repr, lacking))}, which the bundle reads as text; found "
                f"{', '.join(map(repr, items.columns))}; name it in dataset.items and ingest again, or train anew"
            )
        known = pl.DataFrame({"text_hash": hash_texts(make_texts(self.items, fields))}).with_row_index("place")
        texts = make_texts(items, fields)
        places = (
            pl.DataFrame({"text_hash": hash_texts(texts)})
            .join(known.unique("text_hash", keep="first"), on="text_hash", how="left", maintain_order="left")["place"]
            .cast(pl.Int64)
            .fill_null(-1)
            .to_numpy()
        )
        vectors = np.zeros((len(texts), self.embeddings.shape[1]), dtype=np.float32)
        vectors[places >= 0] = self.embeddings[places[places >= 0]]
        if (places < 0).any():
            vectors[places < 0] = self.encoder.encode(texts.filter(pl.Series(places < 0)).to_list(), progress)
        return vectors

    def prepare(self, items: pl.DataFrame, histories: Histories, progress: Progress | None = None) -> Recommender:
        """Return the recommender over a catalogue as of the cut-off of all users' histories.

        New texts are encoded, popularity is counted afresh, and the models are aligned with the catalogue.
        """
        statistics = ItemStatistics.count(histories, self.config.candidates.popularity_half_life_days)
        embeddings = self.embed(items, progress)
        return Recommender.prepare(self.config, self.stage_one, items, embeddings, statistics, histories.cutoff)

    def save(self, folder: Path) -> None:
        """Write every part into an existing empty folder."""
        _write_json(folder / "config.json", self.config.resolved())
        cutoff = self.cutoff.isoformat() if self.cutoff else None
        _write_json(folder / "bundle.json", {"cutoff": cutoff, "encoder": self.encoder.digest()})
        self.encoder.save(folder / "encoder")
        self.stage_one.interest.save(folder / "interest.safetensors")
        self.stage_one.als.save(folder / "als.safetensors")
        self.stage_one.item_to_item.save(folder / "item_to_item.npz")
        self.stage_one.transitions.save(folder / "transitions.npz")
        self.ranker.save(folder)
        self.items.write_parquet(folder / "items.parquet")
        arrays = {
            "embeddings": self.embeddings,
            "users": self.statistics.users,
            "recent": self.statistics.recent,
            "first_age": self.statistics.first_age,
        }
        save_file(arrays, folder / "catalogue.safetensors")

    @classmethod
    def load(cls, folder: Path) -> Bundle:
        """Read what `save` wrote."""
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        config = parse_config(content, str(folder / "config.json"))
        cutoff = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))["cutoff"]
        items = pl.read_parquet(folder / "items.parquet")
        arrays = load_file(folder / "catalogue.safetensors")
        collab = config.collab
        return cls(
            config=config,
            cutoff=datetime.fromisoformat(cutoff) if cutoff else None,
            stage_one=StageOne(
                item_ids=items["item_id"],
                als=AlsModel.load(folder / "als.safetensors", collab.als, config.threads),
                item_to_item=NeighbourModel.load(folder / "item_to_item.npz", collab.item_to_item.history_decay),
                transitions=NeighbourModel.load(folder / "transitions.npz", collab.transitions.history_decay),
                interest=InterestModel.load(folder / "interest.safetensors", config.text.interest),
            ),
            ranker=Ranker.load(folder),
            encoder=Encoder(str(folder / "encoder"), config.text),
            items=items,
            embeddings=arrays["embeddings"],
            statistics=ItemStatistics(arrays["users"], arrays["recent"], arrays["first_age"]),
        )


def recommend_for(bundle: Bundle, history: pl.DataFrame) -> pl.DataFrame:
    """Return lists for histories that no snapshot knows, with the catalogue as of the bundle's training.

    Args:
        bundle: fitted parts.
        history: `user_id`, `item_id`, a row per interaction, a user's rows oldest first; unknown items are skipped.

    Returns:
        `user_id`, `rank` (Int32), `item_id`, `score`, sorted by user, then rank.
    """
    config = bundle.config
    columns = config.dataset.interactions.columns
    place = pl.int_range(pl.len(), dtype=pl.UInt32).over("user_id")
    interactions = history.with_columns(
        position=place if columns.time or columns.order else pl.lit(0, dtype=pl.UInt32),
        time=pl.lit(None, dtype=pl.Datetime("us", "UTC")),
        weight=pl.lit(1.0, dtype=pl.Float32),
        taken=pl.lit(True),
    )
    histories = build_histories(interactions, bundle.items, bundle.cutoff)
    recommender = Recommender.prepare(
        config, bundle.stage_one, bundle.items, bundle.embeddings, bundle.statistics, bundle.cutoff
    )
    candidates = recommender.propose(histories)
    scores = bundle.ranker.score(recommender.describe(candidates, histories))
    lists = rank_candidates(candidates, scores, config.generation.n)
    return name_lists(lists, histories).with_columns(pl.col("rank").cast(pl.Int32))


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")

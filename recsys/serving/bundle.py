"""The bundle: all fitted parts that serve together, as one folder without pickle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from recsys.candidates.merge import CandidateRows, cut_union, map_blocks, propose
from recsys.candidates.models import CandidateModels, read_known_texts
from recsys.candidates.scores import Exclusions
from recsys.candidates.sources import Source, make_sources
from recsys.candidates.statistics import ItemStatistics, count_statistics
from recsys.collab.factor_cache import FactorCache
from recsys.config import SOURCES, Config, parse_config
from recsys.dataset.histories import Histories, build_histories, find_recommendable
from recsys.errors import ArtifactError, DataError
from recsys.features.features import declare_features, describe_rows, make_features
from recsys.features.item_facts import ItemFacts
from recsys.ranking.lists import name_lists, rank_candidates
from recsys.ranking.ranker import Ranker
from recsys.storage.files import read_json, read_parquet, write_json
from recsys.tables import Items
from recsys.text.embedding_cache import EmbeddingCache
from recsys.text.encoder import Encoder, Progress
from recsys.text.item_text import hash_texts, make_texts, name_columns


@dataclass(frozen=True)
class Recommender:
    """The sources over one catalogue as of one instant: proposes candidates and describes them.

    Attributes:
        items: `Items`, the catalogue.
        candidate_models: the models, aligned with it.
        statistics: of all users' histories, not only of those at hand.
        embeddings: (n_items, embedding_size) float32, unit rows.
        sources: over this catalogue, in the order of `config.SOURCES`.
        recommendable: (n_items) bool.
        facts: what the features need to know of the items.
        factor_cache: where users' ALS factors are looked up and kept; None solves for all of them.
    """

    config: Config
    items: pl.DataFrame
    candidate_models: CandidateModels
    statistics: ItemStatistics
    embeddings: NDArray[np.float32]
    sources: list[Source]
    recommendable: NDArray[np.bool_]
    facts: ItemFacts
    factor_cache: FactorCache | None = None

    @classmethod
    def prepare(
        cls,
        config: Config,
        candidate_models: CandidateModels,
        items: pl.DataFrame,
        embeddings: NDArray[np.float32],
        statistics: ItemStatistics,
        cutoff: datetime | None,
        attributes: Sequence[str],
        factor_cache: FactorCache | None = None,
    ) -> Recommender:
        """Align the models with the catalogue, make the sources and gather what features need, of these attributes."""
        aligned = candidate_models.align(items["item_id"]).read_words(make_texts(items, config.text.fields))
        names = [name for name in SOURCES if name in config.candidates.depths]
        sources = make_sources(names, config.candidates, aligned, statistics, embeddings, factor_cache)
        recommendable = find_recommendable(items, cutoff)
        facts = ItemFacts.gather(items, attributes, statistics, embeddings, aligned, cutoff)
        return cls(config, items, aligned, statistics, embeddings, sources, recommendable, facts, factor_cache)

    @property
    def source_names(self) -> list[str]:
        """Names of the sources, in order."""
        return [source.name for source in self.sources]

    def make_sources(self, names: Sequence[str]) -> list[Source]:
        """Return sources by name, whether or not the config proposes from them, in the order of the names."""
        models, embeddings = self.candidate_models, self.embeddings
        return make_sources(names, self.config.candidates, models, self.statistics, embeddings, self.factor_cache)

    def exclusions(self, users: Histories) -> Exclusions:
        """Return what no list of these users may hold: what cannot be had and, without repeats, what they have."""
        return Exclusions.of(users, self.recommendable, repeats=self.config.dataset.repeats)

    def propose_block(self, users: Histories, exclusions: Exclusions | None = None) -> CandidateRows:
        """Return the candidates of a block of users before the union is cut; `exclusions` is `bar`, or more."""
        return propose(self.sources, self.config.candidates.depths, users, exclusions or self.exclusions(users))

    def cut_block(self, rows: CandidateRows) -> CandidateRows:
        """Return the candidates that the config leaves of each user's."""
        return cut_union(rows, self.config.candidates.max_candidates)

    def describe_block(self, rows: CandidateRows, users: Histories) -> dict[str, NDArray[np.float32]]:
        """Return the features of a block's candidates by name, (n_rows) float32 each."""
        return describe_rows(rows, users, self.facts, self.source_names)

    def propose(self, histories: Histories) -> pl.DataFrame:
        """Return `Candidates` of these users."""
        return self._propose(histories, self.cut_block)

    def propose_uncut(self, histories: Histories) -> pl.DataFrame:
        """Return `Candidates` of these users before the union is cut: what the ledger counts."""
        return self._propose(histories, lambda rows: rows)

    def _propose(self, histories: Histories, cut: Callable[[CandidateRows], CandidateRows]) -> pl.DataFrame:
        def work(first_user: int, users: Histories) -> pl.DataFrame:
            return cut(self.propose_block(users)).to_frame(self.source_names, first_user)

        return pl.concat(map_blocks(work, histories))

    def cut(self, candidates: pl.DataFrame, histories: Histories) -> pl.DataFrame:
        """Return the candidates that the config leaves of each of these users'."""
        rows = CandidateRows.from_frame(candidates, self.source_names, histories.n_users)
        return self.cut_block(rows).to_frame(self.source_names)

    def describe(self, candidates: pl.DataFrame, histories: Histories) -> pl.DataFrame:
        """Return the candidates' features."""
        return make_features(candidates, histories, self.facts, self.source_names)

    @property
    def features(self) -> list[str]:
        """Names of the feature columns, in order."""
        return list(declare_features(self.source_names, self.facts.attributes))


@dataclass(frozen=True)
class Bundle:
    """Encoder, stage-one models and ranker of one training, with the catalogue they were trained on.

    Attributes:
        config: the resolved settings of the training.
        cutoff: nothing in the bundle has seen this instant or later; None for data without times.
        candidate_models: the models behind the sources.
        ranker: blend and trees.
        encoder: the fine-tuned BERT.
        items: `Items` at training.
        embeddings: (n_items, embedding_size) float32 of those items' texts.
        statistics: of the histories at training.
    """

    config: Config
    cutoff: datetime | None
    candidate_models: CandidateModels
    ranker: Ranker
    encoder: Encoder
    items: pl.DataFrame
    embeddings: NDArray[np.float32]
    statistics: ItemStatistics

    @property
    def attributes(self) -> list[str]:
        """Item columns that the ranker's features read: those of the catalogue at training, whatever tonight's has."""
        return [column for column in self.items.columns if column not in Items.column_names()]

    def embed(
        self, items: pl.DataFrame, progress: Progress | None = None, cache: EmbeddingCache | None = None
    ) -> NDArray[np.float32]:
        """Return the embeddings of a catalogue; only texts the bundle has not met are encoded.

        Args:
            items: `Items`.
            progress: called with the number of items done since the last call, those the bundle knows included.
            cache: looked into for texts the bundle has not met, and given those that are encoded.

        Raises:
            DataError: the catalogue lacks a column that makes the texts.
        """
        texts, places = self._find_texts(items)
        vectors = np.zeros((len(texts), self.embeddings.shape[1]), dtype=np.float32)
        vectors[places >= 0] = self.embeddings[places[places >= 0]]
        if progress and (places >= 0).any():
            progress(int((places >= 0).sum()))
        if (places < 0).any():
            new = texts.filter(pl.Series(places < 0))
            encode = partial(cache.encode, self.encoder) if cache else self.encoder.encode
            vectors[places < 0] = encode(new.to_list(), progress)
        return vectors

    def find_new_texts(self, items: pl.DataFrame) -> pl.Series:
        """Return the texts of a catalogue that the bundle has not met, in its order."""
        texts, places = self._find_texts(items)
        return texts.filter(pl.Series(places < 0))

    def _find_texts(self, items: pl.DataFrame) -> tuple[pl.Series, NDArray[np.int64]]:
        """Return the texts of a catalogue, and where the bundle has each, -1 where it has not."""
        fields = self.config.text.fields
        _demand_columns(items, name_columns(fields))
        known = pl.DataFrame({"text_hash": hash_texts(make_texts(self.items, fields))}).with_row_index("place")
        texts = make_texts(items, fields)
        places = (
            pl.DataFrame({"text_hash": hash_texts(texts)})
            .join(known.unique("text_hash", keep="first"), on="text_hash", how="left", maintain_order="left")["place"]
            .cast(pl.Int64)
            .fill_null(-1)
            .to_numpy()
        )
        return texts, places

    def prepare(
        self,
        items: pl.DataFrame,
        histories: Histories,
        progress: Progress | None = None,
        cache: EmbeddingCache | None = None,
        factor_cache: FactorCache | None = None,
    ) -> Recommender:
        """Return the recommender over a catalogue as of the cut-off of all users' histories.

        New texts are encoded, popularity is counted afresh, and the models are aligned with the catalogue. TF-IDF is
        fitted anew where the known texts have changed: it takes seconds, and items that joined since have neighbours.

        Raises:
            DataError: the catalogue lacks a column that makes the texts or the features.
        """
        _demand_columns(items, self.attributes)
        statistics = count_statistics(histories, items, self.config.candidates)
        return self.assemble(items, self.embed(items, progress, cache), statistics, histories.cutoff, factor_cache)

    def assemble(
        self,
        items: pl.DataFrame,
        embeddings: NDArray[np.float32],
        statistics: ItemStatistics,
        cutoff: datetime | None,
        factor_cache: FactorCache | None = None,
    ) -> Recommender:
        """Return the recommender over a catalogue whose texts and histories have been read already."""
        candidate_models = self.candidate_models.align(items["item_id"])
        fields = self.config.text.fields
        texts = read_known_texts(items, cutoff, fields)
        if not texts.equals(read_known_texts(self.items, self.cutoff, fields)):
            candidate_models = candidate_models.read_texts(texts, self.config)
        return Recommender.prepare(
            self.config, candidate_models, items, embeddings, statistics, cutoff, self.attributes, factor_cache
        )

    def save(self, folder: Path) -> None:
        """Write every part into an existing empty folder."""
        write_json(folder / "config.json", self.config.resolved())
        cutoff = self.cutoff.isoformat() if self.cutoff else None
        write_json(folder / "bundle.json", {"cutoff": cutoff, "encoder": self.encoder.digest()})
        self.encoder.save(folder / "encoder")
        self.candidate_models.save(folder)
        self.ranker.save(folder)
        self.items.write_parquet(folder / "items.parquet")
        save_file({"embeddings": self.embeddings, **self.statistics.to_arrays()}, folder / "catalogue.safetensors")

    @classmethod
    def load(cls, folder: Path) -> Bundle:
        """Read what `save` wrote.

        Raises:
            ArtifactError: a part is not there: another version of this package wrote the folder.
        """
        try:
            return cls._read(folder)
        except (FileNotFoundError, KeyError) as error:
            name = error.filename if isinstance(error, FileNotFoundError) else error.args[0]
            # safetensors says it in words, which end with the path.
            lacking = Path(name or str(error)).name
            raise ArtifactError(
                f"bundle {folder}: no {lacking}; another version of recsys wrote it; train and promote again"
            ) from error

    @classmethod
    def _read(cls, folder: Path) -> Bundle:
        content = read_json(folder / "config.json")
        config = parse_config(content, str(folder / "config.json"))
        cutoff = read_json(folder / "bundle.json")["cutoff"]
        items = read_parquet(folder / "items.parquet")
        arrays = load_file(folder / "catalogue.safetensors")
        statistics = ItemStatistics.from_arrays(arrays)
        return cls(
            config=config,
            cutoff=datetime.fromisoformat(cutoff) if cutoff else None,
            # Once, not whenever somebody asks for a list.
            candidate_models=CandidateModels.load(folder, items["item_id"], config).read_words(
                make_texts(items, config.text.fields)
            ),
            ranker=Ranker.load(folder),
            encoder=Encoder(str(folder / "encoder"), config.text),
            items=items,
            embeddings=arrays["embeddings"],
            statistics=statistics,
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
        step=place if columns.time or columns.order else pl.lit(0, dtype=pl.UInt32),
        time=pl.lit(None, dtype=pl.Datetime("us", "UTC")),
        weight=pl.lit(1.0, dtype=pl.Float32),
        consumed=pl.lit(True),
    )
    histories = build_histories(interactions, bundle.items, bundle.cutoff)
    recommender = Recommender.prepare(
        config,
        bundle.candidate_models,
        bundle.items,
        bundle.embeddings,
        bundle.statistics,
        bundle.cutoff,
        bundle.attributes,
    )
    candidates = recommender.propose(histories)
    scores = bundle.ranker.score(recommender.describe(candidates, histories))
    lists = rank_candidates(candidates, scores, config.generation.n)
    return name_lists(lists, histories).with_columns(pl.col("rank").cast(pl.Int32))


def _demand_columns(items: pl.DataFrame, columns: Sequence[str]) -> None:
    lacking = [column for column in columns if column not in items.columns]
    if lacking:
        raise DataError(
            f"catalogue: no column {', '.join(map(repr, lacking))}, which the bundle reads; found "
            f"{', '.join(map(repr, items.columns))}; name it in dataset.items and ingest again, or train anew"
        )

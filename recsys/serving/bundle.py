"""The bundle: all fitted parts that serve together, as one folder without pickle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from recsys.candidates.models import CandidateModels
from recsys.candidates.statistics import ItemStatistics, count_statistics
from recsys.collab.factor_cache import FactorCache
from recsys.config import Config, check_plugins, parse_config, required_plugins
from recsys.dataset.histories import Histories, find_known
from recsys.dataset.item_vectors import drop_vectors, name_vectors
from recsys.errors import ArtifactError, ConfigError, DataError
from recsys.progress import format_count
from recsys.ranking.evidence import Evidence, Nearness
from recsys.ranking.ranker import Ranker
from recsys.serving.block_lists import BlockLists
from recsys.serving.recommender import Recommender
from recsys.serving.starting_point import StartingPoint
from recsys.storage.code_version import WRITTEN_BY, find_code_version
from recsys.storage.files import read_json, read_parquet, write_json
from recsys.storage.folders import read_manifest
from recsys.tables import Items
from recsys.text.embedding_cache import EmbeddingCache
from recsys.text.encoder import Encoder, Progress
from recsys.text.item_text import ItemTexts, name_columns

_READERS = "only that version of recsys can read it; with this version, train and promote again"


@dataclass(frozen=True)
class Bundle:
    """Encoder, candidate models and ranker of one training, with the catalogue they were trained on.

    Attributes:
        config: the resolved settings of the training.
        cutoff: nothing in the bundle has seen this instant or later; None for data without times.
        candidate_models: the models behind the sources.
        ranker: blend and trees.
        encoder: the fine-tuned BERT.
        items: `Items` at training.
        item_texts: their texts.
        embeddings: (n_items, embedding_size) float32 of those items' texts.
        statistics: of the histories at training.
        block_lists: as they were at training; the nightly batch reads those of tonight instead.
        checkpoint: SHA-256 of the weights that the encoder was fine-tuned from; empty: it was trained from scratch, or
            an older version of recsys wrote the bundle.
        stored_nearness: as the folder of the bundle has it; None for a new bundle and for one of an older version of
            recsys, which did not store it: then it is measured.
        start: of an evaluation model: where a later training can continue; None without times, in a refit, and where
            an older version of recsys wrote the bundle.
    """

    config: Config
    cutoff: datetime | None
    candidate_models: CandidateModels
    ranker: Ranker
    encoder: Encoder
    items: pl.DataFrame
    item_texts: ItemTexts
    embeddings: NDArray[np.float32]
    statistics: ItemStatistics
    block_lists: BlockLists = field(default_factory=BlockLists)
    checkpoint: str = ""
    stored_nearness: Nearness | None = None
    start: StartingPoint | None = None

    @cached_property
    def nearness(self) -> Nearness:
        """How near two texts of the catalogue at training have to be for a reason to call them similar."""
        if self.stored_nearness is not None:
            return self.stored_nearness
        terms = self.candidate_models.neighbours.get("tfidf")
        return Nearness.measure(self.embeddings, terms.similarity if terms else None)

    @property
    def attributes(self) -> list[str]:
        """Item columns that the ranker's features read: attributes of the catalogue at training, not of tonight's."""
        return [column for column in drop_vectors(self.items).columns if column not in Items.column_names()]

    @cached_property
    def vector_lengths(self) -> dict[str, int]:
        """Names of the items' vectors from elsewhere that the models learned from, each with the vectors' length."""
        return name_vectors(self.items)

    def make_item_texts(self, items: pl.DataFrame) -> ItemTexts:
        """Make the texts of a catalogue from the same fields as at training.

        Raises:
            DataError: the catalogue lacks a column that the texts are made of.
        """
        fields = self.config.text.fields
        _require_columns(items, name_columns(fields))
        return ItemTexts.from_items(items, fields)

    def embed(
        self, texts: ItemTexts, progress: Progress | None = None, cache: EmbeddingCache | None = None
    ) -> NDArray[np.float32]:
        """Return the embeddings of a catalogue; only texts that were not there at training are encoded.

        Args:
            texts: from `make_item_texts`.
            progress: called with the number of items done since the last call, known ones included.
            cache: where new texts are looked up, and stored once they are encoded.

        Returns:
            (n_items, embedding_size) float32, rows unit length.
        """
        known = self._look_up(texts)
        is_new = known < 0
        vectors = np.zeros((len(texts), self.embeddings.shape[1]), dtype=np.float32)
        vectors[~is_new] = self.embeddings[known[~is_new]]
        if progress and not is_new.all():
            progress(int((~is_new).sum()))
        if is_new.any():
            encode = partial(cache.encode, self.encoder) if cache else self.encoder.encode
            vectors[is_new] = encode(texts.texts.filter(pl.Series(is_new)).to_list(), progress)
        return vectors

    def find_new_texts(self, texts: ItemTexts) -> pl.Series:
        """Return the texts that were not there at training, in the order of the catalogue."""
        return texts.texts.filter(pl.Series(self._look_up(texts) < 0))

    def _look_up(self, texts: ItemTexts) -> NDArray[np.int64]:
        """Return (n_items) int64, the row among `embeddings` of each text, -1 where it is new."""
        known = pl.DataFrame({"text_hash": self.item_texts.hashes}).with_row_index("row")
        rows = pl.DataFrame({"text_hash": texts.hashes}).join(
            known.unique("text_hash", keep="first"), on="text_hash", how="left", maintain_order="left"
        )
        return rows["row"].cast(pl.Int64).fill_null(-1).to_numpy()

    def prepare(
        self,
        items: pl.DataFrame,
        histories: Histories,
        texts: ItemTexts | None = None,
        *,
        progress: Progress | None = None,
        cache: EmbeddingCache | None = None,
        factor_cache: FactorCache | None = None,
    ) -> Recommender:
        """Return the recommender over a catalogue as of the cutoff of all users' histories.

        New texts are encoded, popularity is counted from these histories, and the models are aligned with the
        catalogue. TF-IDF and neighbours by attributes are fitted again where the known texts or attributes have
        changed: it takes seconds, and items that joined since then get neighbours.

        Args:
            items: `Items` of the catalogue.
            histories: of all users.
            texts: of the catalogue, from `make_item_texts`; None: made here.
            progress: as in `embed`.
            cache: as in `embed`.
            factor_cache: where users' ALS factors are looked up and kept; None: all of them are computed.

        Raises:
            DataError: the catalogue lacks a column that the texts or the features are made of, or vectors.
        """
        _require_columns(items, self.attributes)
        _require_vectors(items, self.vector_lengths)
        texts = texts or self.make_item_texts(items)
        statistics = count_statistics(histories, items, self.config.candidates)
        embeddings = self.embed(texts, progress, cache)
        return self.assemble(items, texts, embeddings, statistics, histories.cutoff, factor_cache)

    def assemble(
        self,
        items: pl.DataFrame,
        texts: ItemTexts,
        embeddings: NDArray[np.float32],
        statistics: ItemStatistics,
        cutoff: datetime | None,
        factor_cache: FactorCache | None = None,
    ) -> Recommender:
        """Return the recommender over a catalogue whose texts, embeddings and statistics are already made."""
        # Vectors that came since the training are not used.
        items = drop_vectors(items, self.vector_lengths)
        models = self.candidate_models.align(items["item_id"])
        known = texts.as_of(cutoff)
        if not known.equals(self.item_texts.as_of(self.cutoff)):
            models = models.refit_texts(known, self.config)
        if models.fit_on_attributes:
            models = self._refit_attributes(models, items, cutoff)
        return Recommender.prepare(
            self.config, models, items, texts, embeddings, statistics, cutoff, self.attributes, factor_cache
        )

    def _refit_attributes(
        self, models: CandidateModels, items: pl.DataFrame, cutoff: datetime | None
    ) -> CandidateModels:
        """Return the models with those on tags and attributes fitted again, if these differ from the training's."""
        described = items.select("item_id", "created_at", "tags", *self.attributes)
        joined = find_known(described, cutoff)
        trained = self.items.select(described.columns)
        if described.filter(joined).equals(trained.filter(find_known(trained, self.cutoff))):
            return models
        return models.refit_attributes(described, joined.to_numpy(), self.config)

    def count_evidence(self, recommender: Recommender, histories: Histories) -> Evidence:
        """Return the counts over all users that the reasons of a night are checked against.

        Args:
            recommender: of this bundle, over the catalogue.
            histories: of all users.
        """
        neighbours = [model.similarity for model in recommender.facts.neighbours.values()]
        return Evidence.count(histories, self.nearness, neighbours)

    def save(self, folder: Path) -> None:
        """Write every part into an existing empty folder."""
        write_json(folder / "plugins.json", required_plugins(self.config))
        write_json(folder / "config.json", self.config.resolved())
        cutoff = self.cutoff.isoformat() if self.cutoff else None
        facts: dict[str, Any] = {
            "cutoff": cutoff,
            "encoder": self.encoder.digest(),
            "checkpoint": self.checkpoint,
            "nearness": list(self.nearness),
            "start": self.start.cutoff.isoformat() if self.start else None,
            "start_models": sorted(self.start.candidate_models.models) if self.start else [],
        }
        if self.vector_lengths:
            facts["vectors"] = self.vector_lengths
        write_json(folder / "bundle.json", facts)
        self.encoder.save(folder / "encoder")
        self.candidate_models.save(folder)
        if self.start:
            self.start.save(folder)
        self.ranker.save(folder)
        self.items.write_parquet(folder / "items.parquet")
        # Nights read the pairs of their own day, so a bundle holds no id of a user.
        BlockLists(items=self.block_lists.items).save(folder)
        save_file({"embeddings": self.embeddings, **self.statistics.to_arrays()}, folder / "catalogue.safetensors")

    @classmethod
    def load(cls, folder: Path) -> Bundle:
        """Read what `save` wrote.

        Raises:
            ArtifactError: a part or a setting is not as this version of the package expects, because another one wrote
                the folder.
        """
        try:
            return cls._read(folder)
        except ConfigError as error:
            raise ArtifactError(
                f"bundle {folder}: has settings that this version of recsys does not know: {name_writer(folder)}; "
                f"{_READERS} "
                f"({error})"
            ) from error
        except (FileNotFoundError, KeyError) as error:
            name = error.filename if isinstance(error, FileNotFoundError) else error.args[0]
            # The message of safetensors ends with the path.
            lacking = Path(name or str(error)).name
            raise ArtifactError(f"bundle {folder}: no {lacking}; {name_writer(folder)}; {_READERS}") from error

    @classmethod
    def _read(cls, folder: Path) -> Bundle:
        check_plugins(read_json(folder / "plugins.json"), f"bundle {folder}")
        content = read_json(folder / "config.json")
        config = parse_config(content, str(folder / "config.json"))
        facts = read_json(folder / "bundle.json")
        cutoff, nearness, start = facts["cutoff"], facts.get("nearness"), facts.get("start")
        items = read_parquet(folder / "items.parquet")
        arrays = load_file(folder / "catalogue.safetensors")
        statistics = ItemStatistics.from_arrays(arrays)
        item_texts = ItemTexts.from_items(items, config.text.fields)
        return cls(
            config=config,
            cutoff=datetime.fromisoformat(cutoff) if cutoff else None,
            # Texts are read once here, not for every request.
            candidate_models=CandidateModels.load(folder, items["item_id"], config).with_texts(item_texts.texts),
            ranker=Ranker.load(folder),
            encoder=Encoder(str(folder / "encoder"), config.text),
            items=items,
            item_texts=item_texts,
            embeddings=arrays["embeddings"],
            statistics=statistics,
            block_lists=BlockLists.load(folder),
            checkpoint=facts.get("checkpoint", ""),
            stored_nearness=Nearness(*nearness) if nearness else None,
            start=StartingPoint.load(
                folder, items["item_id"], config, datetime.fromisoformat(start), facts.get("start_models", [])
            )
            if start
            else None,
        )


def name_writer(folder: Path) -> str:
    """Return which recsys wrote a bundle, and which one this is, for the message of an error."""
    here = f"this is recsys {find_code_version()}"
    try:
        writer = read_manifest(folder, "").get(WRITTEN_BY)
    except ArtifactError:
        writer = None
    return f"written by {f'recsys {writer}' if writer else 'an older version of recsys'}, {here}"


def _require_columns(items: pl.DataFrame, columns: Sequence[str]) -> None:
    lacking = [column for column in columns if column not in items.columns]
    if lacking:
        raise DataError(
            f"catalogue: no column {', '.join(map(repr, lacking))}, which the bundle needs; found "
            f"{', '.join(map(repr, items.columns))}; name it in dataset.items and ingest again, or train again"
        )


def _require_vectors(items: pl.DataFrame, lengths: Mapping[str, int]) -> None:
    found = name_vectors(items)
    for name, length in lengths.items():
        if found.get(name) != length:
            actual = f"vectors of {format_count(found[name], 'number')}" if name in found else "none"
            raise DataError(
                f"catalogue: the bundle needs vectors '{name}' of {format_count(length, 'number')}, found {actual}; "
                f"fix dataset.items.vectors.{name} and ingest again, or train again"
            )

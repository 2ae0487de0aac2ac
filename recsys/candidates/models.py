"""Stage one: the fitted models behind the sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import polars as pl

from recsys.collab.als import AlsModel
from recsys.collab.bpr import BprModel
from recsys.collab.ease import fit_ease
from recsys.collab.neighbours import NeighbourModel, fit_item_to_item, fit_transitions
from recsys.config import Config
from recsys.dataset.histories import Histories, find_known
from recsys.text.interest import InterestModel
from recsys.text.item_text import make_texts
from recsys.text.tfidf import fit_tfidf

# The item-by-item models, and the sections that say how they look at a history.
NEIGHBOUR_SECTIONS = {
    "item_to_item": "collab.item_to_item",
    "bm25": "collab.bm25",
    "transitions": "collab.transitions",
    "ease": "collab.ease",
    "tfidf": "text.tfidf",
}


@dataclass(frozen=True)
class CandidateModels:
    """The fitted models over one catalogue: some learn from histories, some read texts, one does both.

    Attributes:
        item_ids: (n_items) strings, sorted: the catalogue.
        als: what the users' taste has in common.
        bpr: the same by the order of items; blank where nobody asked for it.
        item_to_item: what is touched by the same users.
        bm25: the same with more said by focused users and rarer items; blank where nobody asked for it.
        transitions: what follows what.
        ease: what is left of that once all items share the credit.
        tfidf: whose texts share words.
        interest: what a history asks for, by embeddings.
        sequence: the same where order says most; untrained where nobody asked for it.
    """

    item_ids: pl.Series
    als: AlsModel
    bpr: BprModel
    item_to_item: NeighbourModel
    bm25: NeighbourModel
    transitions: NeighbourModel
    ease: NeighbourModel
    tfidf: NeighbourModel
    interest: InterestModel
    sequence: InterestModel

    @classmethod
    def fit(
        cls,
        histories: Histories,
        interest: InterestModel,
        sequence: InterestModel,
        tfidf: NeighbourModel,
        config: Config,
    ) -> CandidateModels:
        """Fit the collaborative models on histories, beside text models as of the same cut-off."""
        collab, depths, size = config.collab, config.candidates.depths, histories.n_items
        bpr, bm25 = BprModel.blank(size), NeighbourModel.blank(size, collab.bm25.decay)
        return cls(
            item_ids=histories.item_ids,
            als=AlsModel.fit(histories, collab.als, config.seed, config.threads),
            bpr=BprModel.fit(histories, collab.bpr, config.seed) if "bpr" in depths else bpr,
            item_to_item=fit_item_to_item(histories, collab.item_to_item, config.threads),
            bm25=fit_item_to_item(histories, collab.bm25, config.threads) if "bm25" in depths else bm25,
            transitions=fit_transitions(histories, collab.transitions),
            ease=fit_ease(histories, collab.ease, config.threads),
            tfidf=tfidf,
            interest=interest,
            sequence=sequence,
        )

    @property
    def neighbours(self) -> dict[str, NeighbourModel]:
        """The item-by-item models, by the names of `NEIGHBOUR_SECTIONS`."""
        return {name: getattr(self, name) for name in NEIGHBOUR_SECTIONS}

    def with_decays(self, config: Config) -> CandidateModels:
        """Return the same models, which look at histories as the config says."""
        collab = config.collab
        return replace(
            self,
            item_to_item=self.item_to_item.with_decay(collab.item_to_item.decay),
            bm25=self.bm25.with_decay(collab.bm25.decay),
            transitions=self.transitions.with_decay(collab.transitions.decay),
            ease=self.ease.with_decay(collab.ease.decay),
            tfidf=self.tfidf.with_decay(config.text.tfidf.decay),
        )

    def align(self, item_ids: pl.Series) -> CandidateModels:
        """Return the models over another catalogue; they say nothing about items they do not know."""
        if self.item_ids.equals(item_ids):
            return self
        return replace(
            self,
            item_ids=item_ids,
            als=self.als.align(self.item_ids, item_ids),
            bpr=self.bpr.align(self.item_ids, item_ids),
            item_to_item=self.item_to_item.align(self.item_ids, item_ids),
            bm25=self.bm25.align(self.item_ids, item_ids),
            transitions=self.transitions.align(self.item_ids, item_ids),
            ease=self.ease.align(self.item_ids, item_ids),
            tfidf=self.tfidf.align(self.item_ids, item_ids),
            interest=self.interest.align(item_ids),
            sequence=self.sequence.align(item_ids),
        )

    def read_words(self, texts: pl.Series) -> CandidateModels:
        """Return the models with the words of the catalogue's texts read, where an interest model has use for them."""
        interest, sequence = (model.with_term_vectors(texts) for model in (self.interest, self.sequence))
        return replace(self, interest=interest, sequence=sequence)

    def read_texts(self, texts: pl.Series, config: Config) -> CandidateModels:
        """Return the models with TF-IDF fitted anew on the catalogue's texts: then it knows all of them."""
        return replace(self, tfidf=fit_text_neighbours(texts, config))

    def save(self, folder: Path) -> None:
        """Write each model into an existing folder; the catalogue is the caller's to keep."""
        self.als.save(folder / "als.safetensors")
        self.bpr.save(folder / "bpr.safetensors")
        self.item_to_item.save(folder / "item_to_item.npz")
        self.bm25.save(folder / "bm25.npz")
        self.transitions.save(folder / "transitions.npz")
        self.ease.save(folder / "ease.npz")
        self.tfidf.save(folder / "tfidf.npz")
        self.interest.save(folder / "interest.safetensors")
        self.sequence.save(folder / "sequence.safetensors")

    @classmethod
    def load(cls, folder: Path, item_ids: pl.Series, config: Config) -> CandidateModels:
        """Read what `save` wrote over the same catalogue."""
        collab = config.collab
        return cls(
            item_ids=item_ids,
            als=AlsModel.load(folder / "als.safetensors", collab.als),
            bpr=BprModel.load(folder / "bpr.safetensors"),
            item_to_item=NeighbourModel.load(folder / "item_to_item.npz", collab.item_to_item.decay),
            bm25=NeighbourModel.load(folder / "bm25.npz", collab.bm25.decay),
            transitions=NeighbourModel.load(folder / "transitions.npz", collab.transitions.decay),
            ease=NeighbourModel.load(folder / "ease.npz", collab.ease.decay),
            tfidf=NeighbourModel.load(folder / "tfidf.npz", config.text.tfidf.decay),
            interest=InterestModel.load(folder / "interest.safetensors", item_ids, config.text.interest),
            sequence=InterestModel.load(folder / "sequence.safetensors", item_ids, config.text.sequence),
        )


def read_known_texts(items: pl.DataFrame, cutoff: datetime | None, fields: Sequence[str]) -> pl.Series:
    """Return (n_items) texts as they could be read at an instant: items that join the catalogue later have none."""
    texts = make_texts(items, fields)
    return texts.zip_with(find_known(items, cutoff), pl.Series([""]))


def fit_text_neighbours(texts: pl.Series, config: Config) -> NeighbourModel:
    """Return the TF-IDF neighbours of a catalogue's texts, one text per item in the catalogue's order."""
    return NeighbourModel(fit_tfidf(texts, config.text.tfidf), config.text.tfidf.decay)

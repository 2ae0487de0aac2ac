"""The checkerboard world with a catalogue that changes between training and tonight, for tests of sources."""

from pathlib import Path

import numpy as np
import polars as pl
from miniature import change
from miniature import settings as miniature_settings
from worlds import at, checkerboard, make_interactions, make_items

from recsys.candidates.models import CandidateModels, FitInputs
from recsys.candidates.registry import make_sources
from recsys.candidates.source import Source
from recsys.candidates.statistics import count_statistics
from recsys.config import SOURCES, Config, InterestConfig, parse_config
from recsys.dataset.histories import Histories, build_histories
from recsys.text.item_text import make_texts

BOARD_ITEMS, BOARD_ROWS = checkerboard(users=30, items=20)
BOARD = [*BOARD_ITEMS["item_id"]]


def extend(*more: str) -> pl.DataFrame:
    """Return the board with more items, whose texts have the colours of all others."""
    others = make_items(*({"item_id": item, "tags": ["white", "black"], "colour": "both"} for item in more))
    return pl.concat([BOARD_ITEMS, others]).sort("item_id")


TRAINED = extend("left", "untouched")
# Tonight "left" is gone and "0 new" and "zz new" have joined, so every item has another number.
TONIGHT = extend("untouched", "0 new", "zz new")
UNTOUCHED = [TONIGHT["item_id"].to_list().index(item) for item in ("untouched", "0 new", "zz new")]
INTEREST = InterestConfig(history_length=10)
CONFIG = change(
    parse_config(miniature_settings(), "test"),
    seed=1,
    dataset={"repeats": True},
    text={
        "interest": {"history_length": 10},
        "tfidf": {"max_share": 1.0, "k": 22},
        "sequence": {"size": 8, "epochs": 4},
    },
    collab={
        "als": {"embedding_size": 2},
        "bpr": {"embedding_size": 4},
        "item_to_item": {"k": 8},
        "bm25": {"k": 8},
        "transitions": {"k": 8},
        "ease": {"k": 8},
    },
    candidates={"depths": dict.fromkeys(SOURCES, 5), "new_item_users": 0, "segment_column": "tags"},
)


def embed(item_ids: pl.Series) -> np.ndarray:
    """Return (n_items, 8) unit rows: the colour, and a little of the item's own."""
    rows = np.zeros((len(item_ids), 8), dtype=np.float32)
    for place, item in enumerate(item_ids):
        rng = np.random.default_rng(list(item.encode()))
        rows[place] = 0.2 * rng.standard_normal(8)
        rows[place, int(item[1:]) % 2 if item in BOARD else 1] += 2.0
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def texts_of(items: pl.DataFrame) -> pl.Series:
    return make_texts(items, CONFIG.text.fields)


def fit_models(config: Config = CONFIG) -> CandidateModels:
    """Return the models over the catalogue of the training."""
    left = make_interactions(("u000", "left", 61))
    histories = build_histories(pl.concat([BOARD_ROWS, left]), TRAINED, at(62))
    return CandidateModels.fit(FitInputs(histories, TRAINED, embed(TRAINED["item_id"]), config), {})


def save_and_load(models: CandidateModels, folder: Path, config: Config = CONFIG) -> CandidateModels:
    models.save(folder)
    return CandidateModels.load(folder, models.item_ids, config)


def sources_of(models: CandidateModels, histories: Histories, config: Config = CONFIG) -> dict[str, Source]:
    """Return the sources over tonight's catalogue."""
    aligned = models.align(TONIGHT["item_id"]).refit_texts(texts_of(TONIGHT), config)
    aligned = aligned.refit_attributes(TONIGHT, np.ones(TONIGHT.height, dtype=bool), config)
    statistics = count_statistics(histories, TONIGHT, config.candidates)
    names = list(config.candidates.depths)
    sources = make_sources(names, config.candidates, aligned, statistics, embed(TONIGHT["item_id"]), TONIGHT)
    return {source.name: source for source in sources}


def tonight(*more: tuple[str, str, float]) -> Histories:
    return build_histories(pl.concat([BOARD_ROWS, make_interactions(*more)]), TONIGHT, at(62))

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import polars as pl
import pytest
from miniature import settings
from safetensors.numpy import load_file, save_file
from worlds import at, make_interactions, make_items

from recsys.candidates.statistics import ItemStatistics
from recsys.config import parse_config
from recsys.dataset.histories import build_histories
from recsys.errors import ArtifactError, DataError
from recsys.serving.bundle import Bundle
from recsys.text.embedding_cache import EmbeddingCache
from recsys.text.encoder import Progress
from recsys.text.item_text import ItemTexts


def test_a_folder_that_lacks_a_part_says_which_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(
        ArtifactError, match=r"no plugins\.json; written by an older version of recsys, this is recsys 0\.\S+; only"
    ):
        Bundle.load(tmp_path)
    with pytest.raises(ArtifactError, match=r"bundle .*nowhere: no plugins\.json"):
        Bundle.load(tmp_path / "nowhere")


def test_a_folder_of_a_version_that_counted_less_says_so(bundle: Bundle, tmp_path: Path) -> None:
    parts = SimpleNamespace(save=lambda _: None, digest=lambda: "", neighbours={})
    names = ("users", "recent", "first_age", "last_age", "mean_weight")
    counted = {name: np.full(2, place) for place, name in enumerate(names)}
    replace(
        bundle,
        candidate_models=cast(Any, parts),
        ranker=cast(Any, parts),
        encoder=cast(Any, parts),
        statistics=ItemStatistics(**counted),
    ).save(tmp_path)
    arrays = load_file(tmp_path / "catalogue.safetensors")
    assert all((arrays[name] == values).all() for name, values in counted.items())
    del arrays["last_age"]
    save_file(arrays, tmp_path / "catalogue.safetensors")
    with pytest.raises(ArtifactError, match=r"no last_age; written by .*; with this version, train and promote again"):
        Bundle.load(tmp_path)


def test_a_catalogue_without_an_attribute_gives_no_features(bundle: Bundle) -> None:
    histories = build_histories(make_interactions(("u", "0", 1)), titled("Dune"), at(2))
    with pytest.raises(DataError, match="catalogue: no column 'author', which the bundle needs; found"):
        bundle.prepare(titled("Dune").drop("author"), histories)


class Lengths:
    """An encoder that knows how long a text is, and remembers what it was asked."""

    embedding_size = 2

    def __init__(self) -> None:
        self.seen: list[str] = []

    def digest(self) -> str:
        return "e" * 64

    def encode(self, texts: Sequence[str], progress: Progress | None = None) -> np.ndarray:
        self.seen += texts
        if progress:
            progress(len(texts))
        return np.array([[len(text), 1.0] for text in texts], dtype=np.float32)


@pytest.fixture
def bundle() -> Bundle:
    """A bundle that reads titles and authors, and has met Dune and Emma."""
    content: dict[str, Any] = settings()
    content["dataset"]["items"]["attributes"] = {"author": "author"}
    content["text"] = {"fields": ["title", "by {author}"]}
    items = make_items(*({"item_id": one, "title": one, "author": "Ann"} for one in ("Dune", "Emma")))
    known = np.array([[-1, 0], [-2, 0]], dtype=np.float32)
    nothing = cast(Any, None)
    texts = ItemTexts.from_items(items, ["title", "by {author}"])
    encoder = cast(Any, Lengths())
    return Bundle(parse_config(content, "test"), None, nothing, nothing, encoder, items, texts, known, nothing)


def titled(*titles: str) -> pl.DataFrame:
    return make_items(*({"item_id": f"{n}", "title": title, "author": "Ann"} for n, title in enumerate(titles)))


@pytest.mark.parametrize("cached", [False, True])
def test_only_texts_that_nobody_has_met_are_encoded(cached: bool, bundle: Bundle, tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path) if cached else None
    items = titled("Emma", "Ulysses", "Dune", "Ulysses")
    expected = [[-2, 0], [15, 1], [-1, 0], [15, 1]]
    for _ in range(2):
        told: list[int] = []
        assert bundle.embed(bundle.make_item_texts(items), told.append, cache).tolist() == expected
        # Bars end full.
        assert sum(told) == 4
    seen = cast(Lengths, bundle.encoder).seen
    assert seen == ["Ulysses. by Ann"] * (1 if cached else 4)


def test_what_the_bundle_knows_costs_no_digest_and_leaves_no_trace(bundle: Bundle, tmp_path: Path) -> None:
    assert bundle.embed(bundle.make_item_texts(titled("Dune")), None, EmbeddingCache(tmp_path)).tolist() == [[-1, 0]]
    assert list(tmp_path.iterdir()) == []


def test_a_column_within_a_phrase_is_missed(bundle: Bundle) -> None:
    with pytest.raises(DataError, match="catalogue: no column 'author', which the bundle needs; found"):
        bundle.make_item_texts(titled("Dune").drop("author"))

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from miniature import Trained, read_files

from recsys.artifacts.snapshots import Snapshot, read_snapshot, write_snapshot
from recsys.errors import ArtifactError, DataError, RegistryError
from recsys.pipelines import search as search_module
from recsys.pipelines.search import embed_texts, find_nearest, search
from recsys.serving.bundle import Bundle
from recsys.tables import Rejected, empty
from recsys.text.item_text import make_texts

# Whatever a user types, the result is an answer or one clear error.
ODD_TEXTS = {
    "long": "a crew lost in space " * 5_000,
    "right to left": "שלום עולם مرحبا",
    "NUL bytes": "a crew\0lost\0in space",
    "only digits": "1984",
    "markup": "[bold]x[/bold] %s {0} \\ '\"",
    "controls": "\x1b[31mcrew\x07\u202e",
}


@pytest.fixture
def loaded(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    """The champion's bundle, loaded once for all calls."""
    monkeypatch.setattr(search_module, "load_bundle", lambda *_: bundle)
    return bundle


# --- nearest ---------------------------------------------------------------------------------------------


def unit(*rows: tuple[float, ...]) -> np.ndarray:
    vectors = np.array(rows, dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_nearest_by_hand():
    embeddings = unit((0, 1), (3, 4), (1, 0), (-1, 0), (3, 4))
    found = find_nearest(embeddings, unit((1, 0))[0], pl.Series(["a", "d", "b", "e", "c"]), 4)
    assert found["rank"].to_list() == [1, 2, 3, 4]
    assert found["item_id"].to_list() == ["b", "c", "d", "a"]
    assert found["cosine"].to_list() == pytest.approx([1.0, 0.6, 0.6, 0.0])
    assert found.schema == {"rank": pl.UInt32, "item_id": pl.String, "cosine": pl.Float32}


@pytest.mark.parametrize(("n", "height"), [(0, 0), (1, 1), (2, 2), (99, 2)])
def test_a_smaller_catalogue_gives_all_items(n, height):
    assert find_nearest(unit((1, 0), (0, 1)), unit((1, 0))[0], pl.Series(["a", "b"]), n).height == height
    nothing = find_nearest(np.zeros((0, 2), np.float32), unit((1, 0))[0], pl.Series([], dtype=pl.String), n)
    assert nothing.is_empty()


@given(st.integers(1, 200), st.integers(1, 400), st.integers(0, 9))
def test_equal_items_come_in_the_order_of_their_ids(copies, size, seed):
    """A matrix product may round equal rows differently."""
    rng = np.random.default_rng(seed)
    one, vector = unit(*rng.normal(size=(2, size)))
    ids = pl.Series(rng.permutation(copies)).cast(pl.String)
    found = find_nearest(np.tile(one, (copies, 1)), vector, ids, copies)
    assert found["item_id"].to_list() == sorted(ids.to_list())
    assert found["cosine"].n_unique() == 1
    assert np.abs(found["cosine"].to_numpy()).max() <= 1


# --- search ----------------------------------------------------------------------------------------------


def test_search_reads_the_champion_and_the_newest_snapshot(trained: Trained, bundle: Bundle, snapshot: Snapshot):
    before = read_files(trained.home)
    found = search(trained.config, trained.home, "a crew lost in space", n=7)
    assert read_files(trained.home) == before

    items = snapshot.items.filter("available")
    assert items.height < snapshot.items.height
    cosines = bundle.embed(bundle.make_item_texts(items)) @ bundle.encoder.encode(["a crew lost in space"])[0]
    best = np.argsort(-cosines)[:7]
    assert found.columns == ["rank", "item_id", "title", "cosine"]
    assert found["item_id"].to_list() == items["item_id"].gather(best).to_list()
    assert found["title"].to_list() == items["title"].gather(best).to_list()
    np.testing.assert_allclose(found["cosine"], cosines[best], atol=1e-6)


@pytest.mark.usefixtures("loaded")
def test_an_items_own_text_finds_it(trained: Trained, bundle: Bundle, snapshot: Snapshot):
    gone = snapshot.items.filter(~pl.col("available")).head(1)
    text = make_texts(gone, bundle.config.text.fields)[0]
    found = search(trained.config, trained.home, text, n=1, available=False)
    assert found.row(0, named=True) == {
        "rank": 1,
        "item_id": gone["item_id"][0],
        "title": gone["title"][0],
        "cosine": pytest.approx(1.0, abs=1e-2),
    }
    nearest = search(trained.config, trained.home, text, n=10_000)
    assert nearest["item_id"].sort().to_list() == snapshot.items.filter("available")["item_id"].sort().to_list()


@pytest.mark.parametrize("writable", [True, False])
def test_an_item_newer_than_the_training_is_found(
    writable: bool, loaded: Bundle, trained: Trained, trained_copy: Path, snapshot: Snapshot, monkeypatch, caplog
):
    new = snapshot.items.head(1).with_columns(
        item_id=pl.lit("new"), title=pl.lit("红 teapots of Zanzibar"), tags=pl.lit([], dtype=pl.List(pl.String))
    )
    tables = {
        "items": pl.concat([snapshot.items, new.with_columns(description=pl.lit("Clay and glaze"))]),
        "interactions": snapshot.interactions,
        "rejected": empty(Rejected),
    }
    dataset = trained.config.dataset.model_dump(mode="json")
    write_snapshot(trained_copy, trained.config.name, tables, dataset)
    assert read_snapshot(trained_copy, trained.config.name, dataset).id != snapshot.id
    if not writable:
        (trained_copy / "embeddings").write_text("in the way")
    asked: list[str] = []
    encode = loaded.encoder.encode
    monkeypatch.setattr(loaded.encoder, "encode", lambda texts, *more: asked.extend(texts) or encode(texts, *more))
    for _ in range(2):
        found = search(trained.config, trained_copy, "teapots from zanzibar", n=1, available=False)
        assert found["title"].to_list() == ["红 teapots of Zanzibar"]
    # The new item's text is encoded once and then cached.
    assert sum(text.startswith("红 teapots") for text in asked) == (1 if writable else 2)
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert all("cannot be written (Not a directory)" in warning for warning in warnings)
    assert len(warnings) == (0 if writable else 2)


@pytest.mark.usefixtures("loaded")
@pytest.mark.parametrize("text", ODD_TEXTS.values(), ids=ODD_TEXTS)
def test_unusual_texts_have_results(text: str, trained: Trained):
    found = search(trained.config, trained.home, text, n=3)
    assert found.height == 3
    assert found["cosine"].is_between(-1, 1).all()
    vector = embed_texts(trained.config, trained.home, [text])
    assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.usefixtures("loaded")
@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ("search: the text is empty", "enter words, such as")),
        (" \t\u3000\n", ("search: the text is empty",)),
        ("\0\0", ("vocabulary of champion version 1 (all-MiniLM-L6-v2)", "use words of its")),
        # WordPiece maps words of more than 100 letters to the unknown token.
        ("x" * 100_000, ("no word or character of the text is in the vocabulary",)),
        ("🎬", ("no word or character of the text is in the vocabulary", "train with another text.checkpoint")),
        ("caf\udce9", ("search: the text: character 4 is not valid Unicode", "expected UTF-8", "convert it")),
        ("\ud83c", ("search: the text: character 1 is not valid Unicode",)),
    ],
)
def test_a_text_without_known_tokens_is_one_clear_error(text: str, parts: tuple[str, ...], trained: Trained):
    with pytest.raises(DataError) as caught:
        search(trained.config, trained.home, text)
    for part in parts:
        assert part in str(caught.value)
    str(caught.value).encode()


def test_nothing_available(trained: Trained, snapshot: Snapshot, tmp_path: Path):
    items = snapshot.items.with_columns(available=pl.lit(False))
    tables = {"items": items, "interactions": snapshot.interactions, "rejected": empty(Rejected)}
    write_snapshot(tmp_path, trained.config.name, tables, trained.config.dataset.model_dump(mode="json"))
    with pytest.raises(DataError, match=r"none of the 120 items of snapshot [0-9a-f]{12} is available; add --all"):
        search(trained.config, tmp_path, "a crew")


# --- missing -----------------------------------------------------------------------------------


@pytest.mark.parametrize("alias", ["nobody", "", "書", "a b", "../x", "'; drop", "x" * 5_000])
def test_an_unknown_alias(alias: str, trained: Trained):
    before = read_files(trained.home)
    for ask, texts in ((embed_texts, ["x"]), (search, "x")):
        with pytest.raises(RegistryError) as caught:
            ask(trained.config, trained.home, texts, alias=alias)
        message = str(caught.value)
        assert f"no version has the alias '{alias}'; run 'recsys train' and 'recsys promote'" in message
        assert message.endswith("or use --alias champion")
    assert read_files(trained.home) == before


@pytest.mark.usefixtures("loaded")
def test_the_challenger_can_be_used_before_any_champion(trained: Trained, trained_copy: Path):
    from recsys.registry.tracking import connect

    client = connect(trained_copy, trained.config).client
    client.set_registered_model_alias(trained.config.model_name, "challenger", "1")
    client.delete_registered_model_alias(trained.config.model_name, "champion")
    with pytest.raises(RegistryError, match=r"no version has the alias 'champion'.* or use --alias challenger$"):
        embed_texts(trained.config, trained_copy, ["x"])
    assert embed_texts(trained.config, trained_copy, ["x"], "challenger").shape == (1, 384)


def test_before_the_first_training_no_store_is_created(trained: Trained, tmp_path: Path):
    home = tmp_path / "new"
    with pytest.raises(RegistryError, match=r"no MLflow store in .*/new yet; run 'recsys train' first"):
        embed_texts(trained.config, home, ["x"])
    with pytest.raises(ArtifactError, match="snapshot of 'mini': none in"):
        search(trained.config, home, "x")
    assert not home.exists()


# --- embed -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("loaded")
def test_vectors_are_those_of_the_encoder(trained: Trained, bundle: Bundle, caplog):
    texts = ["bread", "", "salt 🎬", "bread"]
    vectors = embed_texts(trained.config, trained.home, texts)
    assert (vectors.dtype, vectors.shape) == (np.float32, (4, 384))
    assert np.array_equal(vectors, bundle.encoder.in_full_precision().encode(texts))
    assert np.array_equal(vectors[0], vectors[3])
    # Items without any text have this vector too.
    (warning,) = (record.message for record in caplog.records if record.levelname == "WARNING")
    assert "1 of 4 texts (number 2) have no word or character in the vocabulary of all-MiniLM-L6-v2" in warning


def test_embed_needs_texts_in_unicode(trained: Trained):
    with pytest.raises(DataError, match="embed: no text; pass texts with --text, or one per line"):
        embed_texts(trained.config, trained.home, [])
    with pytest.raises(DataError, match="text 2 of 2: character 3 is not valid Unicode"):
        embed_texts(trained.config, trained.home, ["fine", "ab\udcff"])

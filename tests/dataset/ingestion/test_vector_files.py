"""Vectors of the items from elsewhere: how they are read, and what is wrong with them."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from raw_shop import NOW, Shop

from recsys.dataset.ingestion.check_up import look_at_raw_data
from recsys.dataset.item_vectors import drop_vectors, name_vectors, read_vectors
from recsys.errors import DataError


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path))
    shop = Shop(tmp_path.resolve())
    shop.interactions("user_id,item_id", "u,a", "u,b")
    return shop


def write(shop: Shop, vectors: dict[str, Any], name: str = "v.parquet", column: str = "vector") -> None:
    rows = pl.DataFrame({"item_id": list(vectors), column: pl.Series(list(vectors.values()))})
    rows.write_parquet(shop.folder / name)


def ingest(shop: Shop, **settings: Any) -> pl.DataFrame:
    vectors = {"image": {"path": "v.parquet", **settings}}
    return shop.ingest(items={"vectors": vectors}).items


def refuse(shop: Shop, *parts: str, **settings: Any) -> None:
    with pytest.raises(DataError) as caught:
        ingest(shop, **settings)
    for part in parts:
        assert part in str(caught.value), caught.value


# --- reading -----------------------------------------------------------------------------------------------------


def test_vectors_become_a_column_of_unit_length_in_the_order_of_the_catalogue(shop):
    write(shop, {"c": [0.0, 5.0], "a": [3.0, 4.0], "b": [-2.0, 0.0]})
    items = ingest(shop)
    assert items["item_id"].to_list() == ["a", "b", "c"]
    assert items.schema["vector:image"] == pl.List(pl.Float32)
    np.testing.assert_allclose(read_vectors(items)["image"].rows, [[0.6, 0.8], [-1, 0], [0, 1]], atol=1e-7)
    assert name_vectors(items) == {"image": 2}
    assert drop_vectors(items).columns == [name for name in items.columns if name != "vector:image"]
    assert drop_vectors(items, ["image"]).equals(items)


def test_an_item_may_lack_a_vector(shop):
    write(shop, {"b": [3.0, 4.0], "a": None})
    vectors = read_vectors(ingest(shop))["image"]
    assert vectors.known.tolist() == [False, True, False]
    np.testing.assert_allclose(vectors.rows, [[0, 0], [0.6, 0.8], [0, 0]], atol=1e-7)


@pytest.mark.parametrize(
    "kind", [pl.List(pl.Float64), pl.Array(pl.Float32, 2), pl.Array(pl.Float64, 2), pl.List(pl.Int8)], ids=str
)
def test_every_type_of_list_of_numbers(shop, kind):
    pl.DataFrame({"item_id": ["a", "b"], "vector": pl.Series([[3, 4], [0, 1]]).cast(kind)}).write_parquet(
        shop.folder / "v.parquet"
    )
    np.testing.assert_allclose(read_vectors(ingest(shop))["image"].rows, [[0.6, 0.8], [0, 1], [0, 0]], atol=1e-7)


def test_several_files_and_ids_that_are_numbers(shop):
    shop.items("item_id,title", "7,A", "08,B", "9,C")
    folder = shop.folder / "parts"
    folder.mkdir()
    pl.DataFrame({"sku": [7, 9], "v": [[1.0, 0.0], [0.0, 2.0]]}).write_parquet(folder / "1.parquet")
    pl.DataFrame({"sku": ["08"], "v": pl.Series([[0.0, -3.0]], dtype=pl.Array(pl.Float32, 2))}).write_parquet(
        folder / "2.parquet"
    )
    shop.interactions("user_id,item_id", "u,7", "u,9")
    vectors = read_vectors(ingest(shop, path="parts", item_id="sku", column="v"))["image"]
    assert vectors.rows.tolist() == [[0, -1], [1, 0], [0, 1]]


def test_a_column_of_the_items_own_files(shop):
    pl.DataFrame(
        {
            # A repeated row is folded into the first one, and a row without text is rejected with its vector.
            "item_id": ["c", "a", "a", "b", "d"],
            "title": ["C", "A", "A", "B", None],
            "picture": [[0.0, 2.0], [1.0, 0.0], [9.0, 9.0], None, [1.0, 1.0]],
        }
    ).write_parquet(shop.folder / "items.parquet")
    found = shop.ingest(items={"path": "items.parquet", "vectors": {"image": {"column": "picture"}}})
    assert found.items["item_id"].to_list() == ["a", "b", "c"]
    assert found.items["vector:image"].to_list() == [[1.0, 0.0], None, [0.0, 1.0]]


def test_huge_and_tiny_numbers_keep_their_direction(shop):
    write(shop, {"a": [3e30, 4e30], "b": [3e-30, 4e-30]})
    rows = read_vectors(ingest(shop))["image"].rows
    np.testing.assert_allclose(rows[:2], [[0.6, 0.8], [0.6, 0.8]], rtol=1e-5)


def test_vectors_of_several_names(shop):
    write(shop, {"a": [1.0, 0.0]})
    write(shop, {"b": [1.0, 0.0, 0.0]}, "sounds.parquet")
    vectors = {"image": {"path": "v.parquet"}, "audio": {"path": "sounds.parquet"}}
    items = shop.ingest(items={"vectors": vectors}).items
    assert name_vectors(items) == {"image": 2, "audio": 3}


def test_vectors_of_a_few_items_that_left_are_left_out_and_counted(shop, caplog):
    write(shop, {"a": [1.0, 0.0], "b": [1.0, 0.0], "c": [1.0, 0.0], "gone": [1.0, 0.0]})
    assert ingest(shop, max_unknown_share=0.25)["vector:image"].null_count() == 0
    assert "1 of 4 vectors is of items that the catalogue lacks, such as 'gone', and left out" in caplog.text


# --- bad input ---------------------------------------------------------------------------------------------------


def test_another_length(shop):
    write(shop, {"a": [1.0, 0.0], "b": [1.0, 0.0], "c": [1.0]})
    refuse(shop, "items.vectors.image: 1 vector of another length than the other vectors' 2 numbers, such as 'c'")
    empty = pl.Series([[], []], dtype=pl.List(pl.Float32))
    pl.DataFrame({"item_id": ["a", "b"], "vector": empty}).write_parquet(shop.folder / "v.parquet")
    refuse(shop, "most vectors have 0 numbers, expected at least 2")


@pytest.mark.parametrize("number", [float("nan"), float("inf"), None])
def test_numbers_that_are_not_finite(shop, number):
    write(shop, {"a": [1.0, 0.0], "b": [1.0, number]})
    refuse(shop, "1 vector with a number that is missing, NaN or infinite, such as 'b'")


def test_zeros(shop):
    write(shop, {"a": [1.0, 0.0], "b": [0.0, -0.0]})
    refuse(shop, "1 vector of zeros, which have no direction, such as 'b'", "write null for an item")


def test_an_item_twice(shop):
    pl.DataFrame({"item_id": ["a", "b", "a ", "a"], "vector": [[1.0, 0.0]] * 4}).write_parquet(
        shop.folder / "v.parquet"
    )
    refuse(shop, "2 vectors of an item that already has one, such as 'a'")


def test_no_item_id(shop):
    pl.DataFrame({"item_id": ["a", None], "vector": [[1.0, 0.0]] * 2}).write_parquet(shop.folder / "v.parquet")
    refuse(shop, "1 vector without an item id")


def test_more_items_than_the_catalogue(shop):
    write(shop, {"a": [1.0, 0.0], **{f"x{number}": [1.0, 0.0] for number in range(9)}})
    refuse(
        shop,
        "9 of 10 vectors are of items that the catalogue lacks, such as 'x0', 'x1', 'x2'; that is 90.0%",
        "dataset.items.vectors.image.max_unknown_share 0.2",
    )
    write(shop, {"x": [1.0, 0.0]})
    refuse(shop, "1 of 1 vector is of items that the catalogue lacks", max_unknown_share=1.0)


def test_all_faults_are_named_at_once(shop):
    write(shop, {"a": [1.0, 0.0], "b": [0.0, 0.0], "c": [1.0, 2.0, 3.0], "d": [1.0, float("nan")]})
    refuse(shop, "another length", "missing, NaN or infinite, such as 'd'", "of zeros")


def test_no_vector_at_all(shop):
    write(shop, {"a": None, "b": None})
    refuse(shop, "items.vectors.image: no item has a vector")


@pytest.mark.parametrize("values", [["x"], [1.5], [["a"]], [[[1.0]]]], ids=str)
def test_a_column_of_something_else(shop, values):
    pl.DataFrame({"item_id": ["a"], "vector": values}).write_parquet(shop.folder / "v.parquet")
    refuse(shop, "column 'vector' is", "expected lists of numbers", "dataset.items.vectors.image.column")


def test_no_such_file_or_column(shop):
    refuse(shop, "items.vectors.image v.parquet: no such file", "fix dataset.items.vectors.image.path")
    write(shop, {"a": [1.0, 0.0]}, column="embedding")
    refuse(shop, "no column 'vector'; found 'item_id', 'embedding'", "fix dataset.items.vectors.image")
    (shop.folder / "v.parquet").write_bytes(b"PAR1 and nothing else")
    refuse(shop, "v.parquet", "damaged")


def test_the_look_before_ingest(shop):
    def look() -> Any:
        config = shop.config(items={"vectors": {"image": {"path": "v.parquet"}}})
        return {found.name: found for found in look_at_raw_data(config, NOW)}["vectors image"]

    write(shop, {"a": [1.0, 0.0], "b": None})
    assert (look().good, look().found) == (True, "1 vector of 2 numbers checked")
    write(shop, {"a": [1.0, 0.0], "b": [0.0, 0.0]})
    assert not look().good
    assert "zeros" in look().found

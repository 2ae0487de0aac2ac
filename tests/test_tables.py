import polars as pl
import pytest
from worlds import make_interactions, make_items

from recsys.errors import DataError
from recsys.tables import Interactions, Items, Recommendations, check, empty


def reason_against(schema: type, frame: pl.DataFrame) -> str:
    with pytest.raises(DataError) as caught:
        check(schema, frame, "lists for 2025-01-31", "run it again")
    return str(caught.value)


def test_a_good_frame_comes_back_with_its_further_columns() -> None:
    items = make_items("a", "b").with_columns(pl.lit("x").alias("author"))
    assert check(Items, items, "items", "mend it") is items


def test_every_missing_column_is_named() -> None:
    message = reason_against(Items, make_items("a").drop("title", "tags"))
    assert message.startswith("lists for 2025-01-31: no column 'title', 'tags'; found 'item_id', 'description'")
    assert message.endswith("run it again")


def test_every_wrong_type_is_named() -> None:
    frame = make_interactions(("u", "i", 1)).with_columns(pl.col("step").cast(pl.String), time=pl.lit(1))
    message = reason_against(Interactions, frame)
    assert "column 'step' is String, expected UInt32" in message
    assert "column 'time' is Int32, expected Datetime(time_unit='us', time_zone='UTC')" in message


@pytest.mark.parametrize("unit", ["ms", "ns"])
def test_an_instant_in_other_units_or_another_zone_is_a_wrong_type(unit: str) -> None:
    frame = make_interactions(("u", "i", 1))
    assert "column 'time'" in reason_against(Interactions, frame.with_columns(pl.col("time").dt.cast_time_unit(unit)))
    moved = frame.with_columns(pl.col("time").dt.convert_time_zone("Asia/Tokyo"))
    assert "Asia/Tokyo" in reason_against(Interactions, moved)


def test_broken_rules_are_counted() -> None:
    # Of five rows: two ids are the same (both break the key), one is empty, one title is missing.
    frame = make_items("a", "b", "c", "d", "e").with_columns(
        pl.Series("item_id", ["a", "a", "", "d", "e"]), pl.Series("title", ["t", "t", "t", None, "t"])
    )
    message = reason_against(Items, frame)
    assert "4 of 5 rows break a rule" in message
    assert "'primary_key' (2)" in message
    assert "'item_id|min_length' (1)" in message
    assert "'title|nullability' (1)" in message


@pytest.mark.parametrize("weight", [0.0, -1.0])
def test_a_weight_must_be_above_zero(weight: float) -> None:
    frame = make_interactions(("u", "i", 1)).with_columns(pl.lit(weight, dtype=pl.Float32).alias("weight"))
    assert "'weight|min_exclusive' (1)" in reason_against(Interactions, frame)


def test_a_null_inside_a_list_breaks_its_rule() -> None:
    frame = make_items("a").with_columns(pl.Series("tags", [["x", None]], dtype=pl.List(pl.String)))
    assert "'tags|inner_nullability' (1)" in reason_against(Items, frame)


def test_a_rank_starts_at_one_and_is_there_once() -> None:
    row = {"item_id": "i", "score": 1.0, "sources": ["als"], "reason": "r", "variant": "v", "model_version": "1"}
    frame = pl.DataFrame([{"user_id": "u", "rank": rank, **row} for rank in (0, 1, 1)]).cast(
        {"rank": pl.UInt16, "score": pl.Float32}
    )
    message = reason_against(Recommendations, frame)
    assert "'rank|min' (1)" in message
    assert "'primary_key' (2)" in message


@pytest.mark.parametrize("schema", [Items, Interactions, Recommendations])
def test_an_empty_frame_is_a_good_one(schema: type) -> None:
    assert check(schema, empty(schema), "nothing", "go on").height == 0

import polars as pl

from recsys.dataset.languages import count_languages


def test_languages_by_script_and_common_words():
    texts = ["The art of war", "Der Name der Rose", "", "红楼梦", "ノルウェイの森", "Война и мир", "Xyzzy", "12:34"]
    shares = count_languages(pl.Series(texts))
    assert shares == dict.fromkeys(
        (
            *("Chinese", "English", "German", "Japanese", "Latin script, language unclear"),
            *("Russian or another in Cyrillic", "no letters"),
        ),
        round(1 / 7, 4),
    )


def test_rare_languages_and_empty_columns_are_left_out():
    assert count_languages(pl.Series(["the way of it"] * 200 + ["红"])) == {"English": round(200 / 201, 4)}
    assert count_languages(pl.Series(["", ""])) == {}

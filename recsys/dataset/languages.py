"""The languages of texts, roughly: by the script of their letters, and by words and accents where it is Latin."""

from __future__ import annotations

import polars as pl

_SAMPLE = 10_000
_SCRIPTS = {
    "Japanese": r"[\p{Hiragana}\p{Katakana}]",
    "Korean": r"\p{Hangul}",
    "Chinese": r"\p{Han}",
    "Russian or another in Cyrillic": r"\p{Cyrillic}",
    "Greek": r"\p{Greek}",
    "Arabic script": r"\p{Arabic}",
    "Hebrew": r"\p{Hebrew}",
    "Thai": r"\p{Thai}",
    "Hindi or another in Devanagari": r"\p{Devanagari}",
}
_WORDS = {
    "English": "the of and to in for with a an on from my your is by",
    "German": "der die das und ein eine von mit für im zu den dem des auf ist nicht",
    "French": "le la les et un une des du de à pour dans au aux avec est sur",
    "Spanish": "el la los las y un una de del para con en por que su es",
    "Portuguese": "o a os as e um uma de do da dos das para com em por que",
    "Italian": "il lo la gli le e un una di del della dei per con in che è",
    "Dutch": "de het een en van in op voor met is te niet",
    "Polish": "i w z na do się nie to o za po jak od",
    "Turkish": "ve bir bu için ile de da",
}
# Short titles hold no common words; letters that English does not use show at least that they are not English.
ACCENTED = "Latin script, not English"
_ACCENTS = r"[\x{df}-\x{24f}\x{1e00}-\x{1eff}]"
# Names that `count_languages` returns for texts with a known language or script.
LANGUAGES = (*_SCRIPTS, *_WORDS, ACCENTED)
_UNCLEAR = "Latin script, language unclear"
_OTHER = "no letters"


def count_languages(texts: pl.Series) -> dict[str, float]:
    """Return the share of each language or script among texts, largest first; shares below 1 % are left out.

    A text counts for the first script of which it holds a letter; texts in Latin script for the language whose common
    words they hold most. Those without such words count as another language if they hold a letter that English does
    not use, such as ü.

    Args:
        texts: any number; of many, evenly spread ones are looked at. Empty ones are left out.
    """
    given = texts.filter(texts != "")
    if not len(given):
        return {}
    sample = given.gather_every(max(1, len(given) // _SAMPLE))
    frame = pl.DataFrame({"text": sample}).with_columns(pl.col("text").str.to_lowercase())
    words = frame.with_columns(pl.col("text").str.extract_all(r"\p{L}+"))["text"]
    hits = pl.DataFrame(
        {name: words.list.set_intersection(common.split()).list.len() for name, common in _WORDS.items()}
    )
    most = hits.max_horizontal()
    winner = pl.coalesce(pl.when(pl.col(name) == most).then(pl.lit(name)) for name in _WORDS)
    accented = frame["text"].str.contains(_ACCENTS)
    without = pl.when(accented).then(pl.lit(ACCENTED)).otherwise(pl.lit(_UNCLEAR))
    latin = hits.select(pl.when(most > 0).then(winner).otherwise(without)).to_series()
    scripts = [pl.when(pl.col("text").str.contains(letters)).then(pl.lit(name)) for name, letters in _SCRIPTS.items()]
    in_latin = pl.when(pl.col("text").str.contains(r"\p{L}")).then("latin").otherwise(pl.lit(_OTHER))
    found = frame.with_columns(latin=latin).select(language=pl.coalesce(*scripts, in_latin))
    shares = found["language"].value_counts().sort(["count", "language"], descending=[True, False])
    return {name: round(count / found.height, 4) for name, count in shares.iter_rows() if count >= 0.01 * found.height}

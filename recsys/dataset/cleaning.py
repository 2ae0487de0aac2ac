"""Clean raw cell values: text without markup, tags, ids, numbers, instants.

Every function takes and returns a Series of the same length, and the result for a value depends on that value alone.
What cannot be parsed becomes null; the rules of `ingestion` decide what that means.
"""

from __future__ import annotations

import ast
import html
import json
import re
from collections.abc import Callable
from html.entities import html5

import polars as pl

# --- text ------------------------------------------------------------------------------------------------

# Elements used inside a word or sentence: removed without a space, so that `<b>H</b>ello` stays a single word and
# scripts without spaces get none. Every other element separates words.
_INLINE = (
    "a|abbr|acronym|b|bdi|bdo|big|cite|code|data|del|dfn|em|font|i|ins|kbd|label|mark|nobr|q|s|samp|small|span|"
    "strike|strong|sub|sup|time|tt|u|var|wbr"
)
_BLOCK = (
    "address|applet|area|article|aside|audio|base|basefont|blockquote|body|br|button|canvas|caption|center|col|"
    "colgroup|datalist|dd|details|dialog|dir|div|dl|dt|embed|fieldset|figcaption|figure|footer|form|frame|"
    "frameset|h[1-6]|head|header|hgroup|hr|html|iframe|img|input|legend|li|link|main|map|marquee|menu|meta|meter|"
    "nav|noframes|noscript|object|ol|optgroup|option|output|p|param|path|picture|pre|progress|rp|rt|ruby|script|"
    "section|select|source|style|summary|svg|table|tbody|td|template|textarea|tfoot|th|thead|title|tr|track|ul|"
    # Microsoft Word writes o:p and v:shape.
    "video|[a-z]+:[a-z]+"
)
_FLAGS = "allowfullscreen|async|autoplay|checked|controls|defer|disabled|hidden|loop|muted|nowrap|open|selected"
_ATTRIBUTE = rf"""\s+(?:[\w:.@-]+\s*=\s*(?:"[^"]*"|'[^']*'|[^\s"'<>]+)|(?:{_FLAGS}))"""


def _tag(names: str) -> str:
    """Return the pattern of a tag: a known element with attributes, so that `a <b and c> d` stays text."""
    return rf"(?i)</?(?:{names})(?:(?:{_ATTRIBUTE})*\s*/?|\s[^<>]*=[^<>]*)>"


_ANY_TAG = _tag(f"{_INLINE}|{_BLOCK}")
_ENDING = rf"(?i)</(?:{_INLINE}|{_BLOCK})\s*>|<br\s*/?>"
_ENTITY = r"&(#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});"
_MARKUP = (
    (r"(?s)<!\[CDATA\[(.*?)\]\]>", "${1}"),
    (r"(?s)<!--.*?-->|<\?xml[^>]*>", " "),
    (r"(?i)<!doctype[^<>]*>", " "),
    (r"(?is)<script\b[^<>]*>.*?</script\s*>|<style\b[^<>]*>.*?</style\s*>", " "),
    (_tag(_INLINE), ""),
    (_tag(_BLOCK), " "),
)
# Invisible characters without meaning: soft hyphen, zero-width space, word joiner, byte order mark, and the embedding
# and override marks that would reverse the text after them. Joiners (Persian, Indic scripts, emoji), variation
# selectors and the plain left-to-right and right-to-left marks are kept.
_INVISIBLE = "[\u00ad\u200b\u2060\ufeff\u202a-\u202e\u2066-\u2069\ufffe\uffff]"


def to_plain_text(texts: pl.Series) -> pl.Series:
    """Return readable text: a single line, single spaces, no markup; null becomes empty.

    HTML tags, comments, and the content of scripts and styles are removed; only known elements count as tags, so
    `a < b`, `<3` and `List<String>` stay. Entities are decoded. Control and invisible characters are removed, white
    space of every kind becomes a space, the rest is in Unicode NFC. No script loses a letter. Text without a visible
    character is empty.
    """
    texts = texts.cast(pl.String).fill_null("")
    decoded = decode_entities(_drop_markup(texts))
    # A text that was escaped as a whole, `&lt;p&gt;...&lt;/p&gt;`, has tags only once its entities are decoded.
    escaped = ~texts.str.contains(_ANY_TAG) & decoded.str.contains(_ENDING)
    decoded = _change(decoded, escaped, lambda chosen: decode_entities(_drop_markup(chosen)))
    visible = decoded.str.replace_all(r"[^\S ]", " ").str.replace_all(rf"\p{{Cc}}|{_INVISIBLE}", "")
    # Below U+0300, where the combining marks start, text is in NFC already.
    composed = _change(visible, visible.str.contains(r"[^\x00-\x{2ff}]"), lambda chosen: chosen.str.normalize("NFC"))
    plain = composed.str.replace_all(" {2,}", " ").str.strip_chars()
    # Combining marks and joiners alone are not visible.
    return plain.set(~plain.str.contains(r"[^\p{Z}\p{Cf}\p{M}]"), "")


def decode_entities(texts: pl.Series) -> pl.Series:
    """Return the text with entities such as `&amp;` and `&#8217;` decoded if they end in a semicolon."""

    def decode(match: re.Match[str]) -> str:
        name = match[1]
        return html.unescape(match[0]) if name.startswith("#") else html5.get(f"{name};", match[0])

    pattern = re.compile(_ENTITY)
    return _change(
        texts,
        texts.str.contains(_ENTITY),
        lambda chosen: pl.Series([pattern.sub(decode, text) for text in chosen], dtype=pl.String),
    )


def _drop_markup(texts: pl.Series) -> pl.Series:
    def drop(chosen: pl.Series) -> pl.Series:
        for pattern, replacement in _MARKUP:
            chosen = chosen.str.replace_all(pattern, replacement)
        return chosen

    return _change(texts, texts.str.contains("<", literal=True), drop)


def _change(series: pl.Series, where: pl.Series, function: Callable[[pl.Series], pl.Series]) -> pl.Series:
    """Return the series with the function applied only where the mask is true: most texts hold no markup."""
    rows = where.fill_null(False).arg_true()
    return series.clone().scatter(rows, function(series.gather(rows))) if len(rows) else series


# --- lists of text ---------------------------------------------------------------------------------------

_LIST = r"(?s)^\s*\[.*\]\s*$"
_MARK = "\x1f"


def join_lists(values: pl.Series) -> pl.Series:
    """Return a text per value: times as ISO text, the members of a list (also of a JSON list) joined by commas."""
    if isinstance(values.dtype, pl.List):
        return values.list.drop_nulls().list.join(", ")
    texts = values.cast(pl.String)
    return _read_lists(texts).str.strip_prefix(_MARK).str.replace_all(_MARK, ", ", literal=True)


def split_tags(values: pl.Series, separator: str) -> pl.Series:
    """Return a list of clean, distinct, non-empty tags per value, in order of appearance; null becomes [].

    A value is a list, a list written as JSON or as Python writes it, or text with separators.
    """
    if not isinstance(values.dtype, pl.List):
        texts = decode_entities(_read_lists(values.cast(pl.String)))
        listed = texts.str.starts_with(_MARK)
        values = (
            pl.DataFrame({"text": texts, "listed": listed})
            .select(
                pl.when("listed")
                .then(pl.col("text").str.strip_prefix(_MARK).str.split(_MARK))
                .otherwise(pl.col("text").str.split(separator))
            )
            .to_series()
        )
    rows = pl.DataFrame({"tag": values}).with_row_index("row")
    tags = rows.explode("tag").with_columns(pl.col("tag").map_batches(to_plain_text, return_dtype=pl.String))
    kept = tags.filter(pl.col("tag") != "").unique(["row", "tag"], keep="first", maintain_order=True)
    lists = kept.group_by("row", maintain_order=True).agg("tag")
    joined = rows.select("row").join(lists, on="row", how="left", maintain_order="left")
    return joined["tag"].fill_null(pl.Series([[]], dtype=pl.List(pl.String)))


def _read_lists(texts: pl.Series) -> pl.Series:
    """Return texts that are lists as their members, each after a marker character; other texts unchanged."""

    def read(text: str) -> str:
        try:
            members = json.loads(text)
        except (ValueError, RecursionError):
            try:
                members = ast.literal_eval(text.strip())  # a list in a CSV that pandas wrote
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                return text
        if not all(isinstance(member, str | int | float | None) for member in members):
            return text
        return "".join(_MARK + str(member).replace(_MARK, " ") for member in members if member is not None)

    return _change(
        texts,
        texts.str.contains(_LIST),
        lambda chosen: pl.Series([read(text) for text in chosen], dtype=pl.String),
    )


# --- ids, numbers, flags ---------------------------------------------------------------------------------

_MISSING = ("", "nan", "NaN", "<NA>")
_WHOLE_NUMBER = r"^(-?[0-9]+)\.0+$"
# The way pandas and other tools write floats from 10^16 on, such as 1.2345678901234568e+18: digits are lost.
_ROUNDED_NUMBER = r"^-?[0-9](\.[0-9]+)?[eE]\+(1[6-9]|[2-9][0-9]|[0-9]{3})$"


def clean_ids(values: pl.Series) -> pl.Series:
    """Return ids as text without outer white space; null where there is none.

    `12.0`, `12.00` and `12` are the same id, `12`: pandas writes an integer column with gaps as floats. Leading zeros
    stay. The spellings that pandas has for a missing value (nan, <NA>) are null. Every list of ids is cleaned by this
    function, so an id is spelt alike in raw files, block lists and requests.
    """
    return _without_missing(values).str.replace(_WHOLE_NUMBER, "${1}")


def has_control_characters(ids: pl.Expr) -> pl.Expr:
    """Return for each clean id whether it holds a control character, such as a line break or NUL."""
    return ids.str.contains(r"\p{Cc}")


def is_rounded(ids: pl.Expr) -> pl.Expr:
    """Return for each clean id whether it is a float that has lost digits, so that other ids may be spelt alike."""
    return ids.str.contains(_ROUNDED_NUMBER)


def parse_numbers(values: pl.Series) -> pl.Series:
    """Return Float64; null where the text is blank or is not a finite number (nor is `nan`)."""
    numbers = values.cast(pl.String).str.strip_chars().cast(pl.Float64, strict=False)
    return numbers.set(~numbers.is_finite(), None)


def parse_flags(values: pl.Series) -> pl.Series:
    """Return Boolean from true/false, yes/no, t/f, y/n, 1/0 in any case; a missing value is true, others are null."""
    texts = _without_missing(values).str.to_lowercase()
    known = dict.fromkeys(("true", "yes", "t", "y", "1", "1.0"), True)
    known |= dict.fromkeys(("false", "no", "f", "n", "0", "0.0"), False)
    return texts.fill_null("true").replace_strict(known, default=None, return_dtype=pl.Boolean)


def is_blank(values: pl.Series) -> pl.Series:
    """Return for each value whether it is null or blank."""
    return values.cast(pl.String).str.strip_chars().fill_null("") == ""


def _without_missing(values: pl.Series) -> pl.Series:
    texts = values.cast(pl.String).str.strip_chars()
    return texts.set(texts.is_in(_MISSING), None)


# --- instants --------------------------------------------------------------------------------------------

_ISO = (
    r"^(?<date>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:(?:[Tt]| +)(?<minutes>[0-9]{2}:[0-9]{2})(?<seconds>:[0-9]{2}(?:[.,][0-9]{1,9})?)?"
    r" *(?<zone>[Zz]|UTC|GMT|[+-][0-9]{2}(?::?[0-9]{2})?)?)?$"
)
# Years 1 to 9999, the range that other tools can read.
_FIRST, _LAST = -62_135_596_800, 253_402_300_799


def parse_times(values: pl.Series, time_format: str, time_zone: str) -> pl.Series:
    """Return Datetime in UTC, microseconds; null where the value is not a time.

    Columns of a time type (Parquet) are kept, whatever the format is.

    Args:
        values: text, or Datetime with or without a zone.
        time_format: `seconds` or `milliseconds` since 1970 (fractions allowed, rounded to a microsecond); `iso`:
            ISO 8601 date and time, or a date, with or without an offset, in any mixture; `date`: YYYY-MM-DD; `any`:
            iso, or a number, which is milliseconds from 10^11 on (as seconds that would be the year 5138).
        time_zone: zone of values without a zone. In an hour that clocks repeat, the first is meant; a time in an hour
            that clocks skip is null, except midnight: such a day starts at its first instant.
    """
    if isinstance(values.dtype, pl.Datetime):
        return values if values.dtype.time_zone else _to_utc(values, time_zone)
    if time_format in ("seconds", "milliseconds"):
        return _from_epoch(parse_numbers(values) / (1000 if time_format == "milliseconds" else 1))
    texts = values.cast(pl.String).str.strip_chars()
    if time_format == "date":
        return _from_iso(texts.set(texts.str.len_bytes() != 10, None), time_zone)
    times = _from_iso(texts, time_zone)
    if time_format == "any":
        numbers = parse_numbers(values)
        seconds = pl.DataFrame({"n": numbers}).select(
            pl.when(pl.col("n").abs() < 1e11).then("n").otherwise(pl.col("n") / 1000)
        )
        times = times.fill_null(_from_epoch(seconds.to_series()))
    return times


def _from_epoch(seconds: pl.Series) -> pl.Series:
    seconds = seconds.set(~seconds.is_between(_FIRST, _LAST), None)
    return (seconds * 1e6).round().cast(pl.Int64).cast(pl.Datetime("us", "UTC"))


def _from_iso(texts: pl.Series, time_zone: str) -> pl.Series:
    parts = texts.str.extract_groups(_ISO).struct.unnest()
    clock = pl.concat_str(
        pl.col("date"),
        pl.lit("T"),
        pl.col("minutes").fill_null("00:00"),
        pl.col("seconds").str.replace(",", ".", literal=True).fill_null(":00"),
    )
    frame = parts.select(clock=clock, zone="zone")
    local = frame["clock"].str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit="us", strict=False)
    times = _to_utc(local, time_zone)
    if frame["zone"].null_count() == frame.height:
        return times
    offset = (
        pl.col("zone")
        .str.replace(r"^(?:[Zz]|UTC|GMT)$", "+0000")
        .str.replace(":", "", literal=True)
        .str.pad_end(5, "0")
    )
    with_zone = frame.select(pl.concat_str("clock", offset)).to_series()
    exact = with_zone.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%z", time_unit="us", strict=False)
    return pl.select(pl.when(frame["zone"].is_null()).then(times).otherwise(exact)).to_series()


def _to_utc(local: pl.Series, time_zone: str) -> pl.Series:
    def convert(times: pl.Series) -> pl.Series:
        zoned = times.dt.replace_time_zone(time_zone, ambiguous="earliest", non_existent="null")
        return zoned.dt.convert_time_zone("UTC")

    times = convert(local)
    # Where clocks change at midnight, the day starts at 01:00.
    midnight = times.is_null() & (local.dt.truncate("1d") == local)
    return times.zip_with(~midnight.fill_null(False), convert(local.dt.offset_by("1h"))) if midnight.any() else times

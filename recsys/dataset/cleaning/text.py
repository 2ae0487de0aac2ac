"""Readable text from raw cells: no markup, no control characters, a single line."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from html.entities import html5

import polars as pl

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
    # What a text that was cut to a length ends with: a comment, a script or a tag that nothing closes.
    (r"(?is)<!--.*$|<(?:script|style)\b[^<>]*>.*$", ""),
    (rf"(?i)<(?:{_INLINE}|{_BLOCK})\s+[\w:.@-]+\s*=[^<>]*$|</[a-z]*\s*$", ""),
    (r"(?i)<(?:br|div|em|h[1-6]|hr|img|li|ol|span|strong|td|tr|ul)(?:\s[^<>]*|\s*/)?$", ""),
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
    `a < b`, `<3` and `List<String>` stay. A tag, comment or script that the end of the text cuts off is removed too.
    Entities are decoded. Control and invisible characters are removed, white space of every kind becomes a space, the
    rest is in Unicode NFC. No script loses a letter. Text without a visible character is empty.
    """
    texts = texts.cast(pl.String).fill_null("")
    decoded = decode_entities(_drop_markup(texts))
    # A text that was escaped as a whole, `&lt;p&gt;...&lt;/p&gt;`, has tags only once its entities are decoded.
    escaped = ~texts.str.contains(_ANY_TAG) & decoded.str.contains(_ENDING)
    decoded = change_where(decoded, escaped, lambda chosen: decode_entities(_drop_markup(chosen)))
    visible = decoded.str.replace_all(r"[^\S ]", " ").str.replace_all(rf"\p{{Cc}}|{_INVISIBLE}", "")
    # Below U+0300, where the combining marks start, text is in NFC already.
    composed = change_where(
        visible, visible.str.contains(r"[^\x00-\x{2ff}]"), lambda chosen: chosen.str.normalize("NFC")
    )
    plain = composed.str.replace_all(" {2,}", " ").str.strip_chars()
    # Combining marks and joiners alone are not visible.
    return plain.set(~plain.str.contains(r"[^\p{Z}\p{Cf}\p{M}]"), "")


def decode_entities(texts: pl.Series) -> pl.Series:
    """Return the text with entities such as `&amp;` and `&#8217;` decoded if they end in a semicolon."""

    def decode(match: re.Match[str]) -> str:
        name = match[1]
        return html.unescape(match[0]) if name.startswith("#") else html5.get(f"{name};", match[0])

    pattern = re.compile(_ENTITY)
    return change_where(
        texts,
        texts.str.contains(_ENTITY),
        lambda chosen: pl.Series([pattern.sub(decode, text) for text in chosen], dtype=pl.String),
    )


def _drop_markup(texts: pl.Series) -> pl.Series:
    def drop(chosen: pl.Series) -> pl.Series:
        for pattern, replacement in _MARKUP:
            chosen = chosen.str.replace_all(pattern, replacement)
        return chosen

    return change_where(texts, texts.str.contains("<", literal=True), drop)


def change_where(series: pl.Series, where: pl.Series, function: Callable[[pl.Series], pl.Series]) -> pl.Series:
    """Return the series with the function applied only where the mask is true, for changes that few values need."""
    rows = where.fill_null(False).arg_true()
    return series.clone().scatter(rows, function(series.gather(rows))) if len(rows) else series

"""Which encoding text is in that is neither Unicode nor Western: Russian, Chinese, Japanese or Korean."""

from __future__ import annotations

import codecs
import re

# Encoding -> the characters of which texts in it mostly consist, beside ASCII, and the least share of them.
_FORMS: dict[str, tuple[str, float]] = {
    "windows-1251": (r"[А-Яа-яЁёІіЇїЄєҐґ№«»—–]", 0.97),
    "koi8-r": (r"[А-Яа-яЁё]", 0.97),
    "shift_jis": (r"[\u3000-\u30ff\u4e00-\u9fff\uff00-\uff5e]", 0.99),
    "euc-jp": (r"[\u3000-\u30ff\u4e00-\u9fff\uff00-\uff5e]", 0.99),
    "euc-kr": (r"[\uac00-\ud7a3\u3000-\u303f]", 0.9),
    "gb18030": (r"[\u4e00-\u9fff\u3000-\u303f\uff00-\uff5e]", 0.95),
    "big5": (r"[\u4e00-\u9fff\u3000-\u303f\uff00-\uff5e]", 0.95),
}
ENCODINGS = (*_FORMS, "windows-1252", "latin-1", "utf-16")
_JAPANESE = ("shift_jis", "euc-jp")
_FEWEST = 10
# Capital letters start words: texts in koi8-r read as windows-1251 have capitals and small letters exchanged.
_WORD = r"[А-Яа-яЁё]{2,}"
_EXCHANGED = r"^[а-яё]?[А-ЯЁ]+$"


def guess_encoding(head: bytes) -> str | None:
    """Return the encoding of the first bytes of a text that is neither Unicode nor Western; None if none is likely."""
    return next((name for name in _FORMS if _fits(head, name)), None)


def _decode(head: bytes, encoding: str) -> str | None:
    try:
        return codecs.getincrementaldecoder(encoding)("strict").decode(head)
    except UnicodeDecodeError:
        return None


def _fits(head: bytes, encoding: str) -> bool:
    text = _decode(head, encoding)
    if text is None:
        return False
    form, least = _FORMS[encoding]
    wide = re.findall(r"[^\x00-\x7f]", text)
    if len(wide) < _FEWEST or len(re.findall(form, text)) < least * len(wide):
        return False
    if encoding in _JAPANESE:
        return len(re.findall(r"[\u3040-\u30ff]", text)) >= 0.1 * len(wide)
    words = re.findall(_WORD, text)
    if encoding in ("windows-1251", "koi8-r"):
        # Western text has single letters between ASCII ones, and no words of these.
        exchanged = sum(bool(re.match(_EXCHANGED, word)) for word in words)
        return len("".join(words)) >= 0.8 * len(wide) and exchanged < 0.5 * len(words)
    return True

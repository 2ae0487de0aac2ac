"""Which language texts are in, as far as scripts and the commonest words tell."""

from __future__ import annotations

import re

import polars as pl

_SCRIPTS = {
    "Japanese": r"[\p{Hiragana}\p{Katakana}]",
    "Chinese": r"\p{Han}",
    "Korean": r"\p{Hangul}",
    "Cyrillic": r"\p{Cyrillic}",
    "Arabic": r"\p{Arabic}",
    "Greek": r"\p{Greek}",
    "Hebrew": r"\p{Hebrew}",
    "Thai": r"\p{Thai}",
    "Devanagari": r"\p{Devanagari}",
}
_WORDS = {
    "English": "the and of to in is with for his her from that you are on at it by this",
    "German": "der die das und ist ein eine mit von den im für auf nicht dem zu des sich wird auch",
    "French": "le la les des et est un une du dans pour sur avec qui que au par aux ses",
    "Spanish": "el los las y es una del en con para por que se su como más al",
    "Italian": "il gli e è una del della di per con che nel alla dei un sono",
    "Portuguese": "o os as é uma do da em com para não que se dos um na no",
    "Dutch": "de het een en van is op met voor niet zijn aan dat te door",
    "Polish": "w i z na do się nie jest to od dla przez",
    "Swedish": "och att det som en på är av för med till den",
}
# Language -> a checkpoint of the BERT family that knows it.
CHECKPOINTS = {
    "Japanese": "tohoku-nlp/bert-base-japanese-v3",
    "Chinese": "bert-base-chinese",
    "German": "dbmdz/bert-base-german-cased",
    "French": "dbmdz/bert-base-french-europeana-cased",
    "Spanish": "dccuchile/bert-base-spanish-wwm-cased",
    "Italian": "dbmdz/bert-base-italian-cased",
}
MULTILINGUAL = "bert-base-multilingual-cased"


def name_language(texts: pl.Series) -> tuple[str, float]:
    """Return the main language or script of texts and the share of texts that shows it.

    Texts without a common word of any known language count as English if their letters are plain Latin: titles are
    short.
    """
    sample = texts.drop_nulls().head(2000)
    if not len(sample):
        return "English", 0.0
    for script, pattern in _SCRIPTS.items():
        share = float(sample.str.contains(pattern).mean() or 0.0)  # type: ignore[arg-type]
        if share >= 0.3 or (script == "Japanese" and share >= 0.1):
            return script, share
    words = [re.findall(r"[^\W\d_]+", text.lower()) for text in sample]
    hits = {
        language: sum(any(word in known for word in text) for text in words)
        for language, known in ((name, set(common.split())) for name, common in _WORDS.items())
    }
    # A word counts for the language that has most of the words, so that "die" in an English title does not tell.
    best = max(hits, key=lambda language: hits[language])
    if best == "English" or hits[best] < 0.05 * len(sample) or hits[best] < 1.5 * max(hits["English"], 1):
        return "English", hits["English"] / len(sample)
    return best, hits[best] / len(sample)

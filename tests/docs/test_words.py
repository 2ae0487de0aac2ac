"""Prose uses the glossary's words: phrases that readers stumbled over do not come back.

To ban a phrase, add it to PHRASES with the wording to use instead.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Old phrase, matched as whole words and in any case -> what to write instead.
PHRASES = {
    "mend": "fix",
    "at it (lock": "holds the lock",
    "still says what it said": "the existing file is unchanged",
    "says the same": "is a copy",
    "lists in place stay": "the current lists remain published",
    "as it came": "pretrained, untuned",
    "made-up": "synthetic",
    "changes nothing": "read-only",
    "so it is not ours": "not written by recsys",
    "settings not as expected": "invalid settings",
    "a fault of the stage that made it": "internal error in the stage that wrote it",
    "starting anew": "starting from scratch",
    "of another training": "belongs to another run",
    "measured twin": "evaluation model",
    "the twin": "the evaluation model",
    "the rest get lost": "where positives were lost",
    "what was lost where": "where candidates were lost",
    "for whoever": "for everyone who, for users who",
    "nobody has touched": "without events",
    "nobody had touched": "without events",
    "through the house": "through the modules",
    "goes on serving": "keeps serving",
    "is champion again": "rolled back to",
    "not told apart from": "not distinguishable from",
    "fates": "outcomes",
    "so many of": "a number of, n of",
    "at hand": "given",
    "anew": "again, from scratch",
    "beside the baselines": "next to, compared with the baselines",
    "say of": "say about",
    "ours to mend": "ours to fix",
    "found by no source": "not proposed by any source",
    "look into the store": "browse the store",
    "the files lie": "the files are",
    "stage one": "candidate models, retrieval",
}

# Words that the glossary must explain.
WORDS = (
    "item, user, interaction, event kind, window, cutoff, candidate, source, exclusion, pair, feature, list, "
    "recommendation, run date, snapshot, bundle, evaluation model, refit, champion, challenger, gate, promotion log, "
    "candidate ledger, shard, block, batch, fold, label window, blend, depth, fallback, z-score, gap, segment, "
    "outcome, churn, coverage, anchor, pointer, manifest"
)

# Where prose is checked.
CHECKED = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "Makefile",
    "docs/**/*.md",
    "notebooks/*.py",
    "airflow_dags/*.py",
    "airflow_dags/*.md",
    "configs/*.yaml",
    "recsys/**/*.py",
    "recsys/report/page.*",
)


def find_phrases(text: str) -> list[str]:
    """The banned phrases in a text, each with its context and what to write instead; line breaks count as spaces."""
    flat = re.sub(r"\s*\n[#>\s]*", " ", text)
    found = []
    for phrase, better in PHRASES.items():
        pattern = rf"(?<![\w-]){re.escape(phrase)}(?![\w-])"
        for match in re.finditer(pattern, flat, re.IGNORECASE):
            context = flat[max(0, match.start() - 30) : match.end() + 30]
            found.append(f"'{phrase}' in '…{context}…': write {better}")
    return found


@pytest.mark.parametrize("pattern", CHECKED)
def test_prose_uses_the_words_of_the_glossary(pattern: str) -> None:
    paths = sorted(ROOT.glob(pattern))
    assert paths, f"no file matches {pattern}"
    found = {
        path.relative_to(ROOT).as_posix(): phrases
        for path in paths
        if (phrases := find_phrases(path.read_text("utf-8")))
    }
    report = "\n".join(f"{path}: {phrase}" for path, phrases in found.items() for phrase in phrases)
    assert not report, report


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("Mend it and clear the task", 1),
        ("a recommendation, amended", 0),
        ("the lists in\n    place stay", 1),
        ("# as it\n# came", 1),
        ("made-upon", 0),
    ],
)
def test_phrases_are_found_as_whole_words_across_lines(text: str, count: int) -> None:
    assert len(find_phrases(text)) == count


def test_the_glossary_explains_each_word_once() -> None:
    page = (ROOT / "docs" / "reference" / "glossary.md").read_text("utf-8")
    rows = [row for row in re.findall(r"^\| ([^|]+) \| (.+) \|$", page, re.MULTILINE) if row[0] not in ("term", "---")]
    terms = [term for term, _ in rows]
    assert len(terms) == len(set(terms))
    assert all(meaning.endswith(".") for _, meaning in rows)
    wanted = set(WORDS.split(", "))
    assert wanted <= set(terms), f"docs/reference/glossary.md lacks {sorted(wanted - set(terms))}"

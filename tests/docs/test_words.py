"""Prose uses the glossary's words: phrases that readers stumbled over do not come back.

To ban a phrase everywhere, add it to PHRASES with the wording to use instead; to ban a kind of phrase in messages only,
add a pattern to MESSAGES.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
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
    "any more": "no longer",
    "an older recsys": "an older version of recsys",
    "another recsys": "another version of recsys",
    "this recsys": "this version of recsys",
    "letters of the text": "ordinary characters",
}

# Kinds of phrases in messages: string literals of the source, but not its comments and internal docstrings.
# Pattern -> what to write instead.
MESSAGES = {
    r"\b(?:it|which|that|folder|line %d|\}): (?:is|are) no (?!longer|more)\w+|\b(?<!there )(?:is|are) no "
    r"(?:backup|entry|entries|move|encoding|address|place|table|tables|file|files|number|name)\b": "is not a …",
    r", for (?:it|they|this|that|these|those|(?:the|its|no) \w+) (?:is|are|has|have|holds?|does|do|may|cannot)\b": (
        "because …"
    ),
    r"\bsurely\b": "significantly, or the bound of the interval",
    r"\b(?:is|are) gone\b": "is missing, disappeared",
    r"\b(?:took|takes?) \w+ back\b": "cancel",
    r"\b(?:taken|takes?|took) over\b": "imported",
    r"\b(?:stands|lies|told)\b": "is, shows",
    r"\bbeside\b": "next to, in addition to",
    r"\bwhat (?:\w+ )?sa(?:ys|id)\b": "name the thing",
    r"\blooked at\b": "checked",
    r"\b[Gg]ive (?:another|one of)\b": "choose another, use one of",
    r"\bnever there\b": "never seen before",
    r"\bstill there\b": "still exist",
    r"\bmake it again\b": "recreate it",
    r"\bleft to the data\b": "auto",
    r"\bnot looked up\b": "cannot look up, cannot list",
    r"\b(?:has|have) gone\b": "is missing, disappeared",
    r"\bheld against\b": "compared with",
    r"\bhalf way\b": "during the transfer, if it is interrupted",
    r"\b[Ww]hat served\b": "which version served",
    r"\bfollows what\b": "which night each output serves",
    r"\bjoined the catalogue\b": "was added to the catalogue",
}

# Nouns that follow a count in messages. `format_count` writes the singular for 1.
COUNTED = (
    "attempts, bytes, candidates, cells, characters, columns, days, dimensions, entries, epochs, events, features, "
    "figures, files, functions, groups, histories, hits, hours, ids, interactions, items, layers, leaves, lists, "
    "minutes, models, neighbours, nights, pairs, places, positives, processes, processors, rejections, rows, runs, "
    "seconds, segments, settings, shards, sheets, snapshots, sources, steps, tasks, texts, times, titles, tokens, "
    "trainings, trees, trials, users, values, vectors, versions, weights, windows, words"
)

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
    lower = flat.lower()
    found = []
    for phrase, better in PHRASES.items():
        if phrase not in lower:
            continue
        pattern = rf"(?<![\w-]){re.escape(phrase)}(?![\w-])"
        for match in re.finditer(pattern, flat, re.IGNORECASE):
            context = flat[max(0, match.start() - 30) : match.end() + 30]
            found.append(f"'{phrase}' in '…{context}…': write {better}")
    return found


def list_messages(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The string literals with a blank in them, but not docstrings: a help text is a docstring too, and is in
    cli.md."""
    docstrings = {
        node.body[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docstrings:
            yield node.lineno, " ".join(node.value.split())


def list_bare_counts(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Return counts in f-strings whose plural noun is wrong for 1, except `of N rows` and upper-case constants."""
    for text in (node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)):
        before = ""
        for value, after in zip(text.values, [*text.values[1:], None], strict=True):
            if isinstance(value, ast.Constant):
                before = str(value.value)
                continue
            assert isinstance(value, ast.FormattedValue)
            name = ast.unparse(value.value)
            noun = (
                re.match(r" (?!of |in |with |without )(?:[a-z]+ )?([a-z]+)\b", str(after.value))
                if isinstance(after, ast.Constant)
                else None
            )
            constant = re.fullmatch(r"(?:\w+\.)*_?[A-Z][A-Z_]+(?: [-+] 1)?", name.removeprefix("1 + "))
            if (
                noun
                and noun[1] in COUNTED.split(", ")
                and not (constant or before.endswith("of ") or "format_count" in name)
            ):
                yield text.lineno, f"{{{name}}}{noun[0]}"
            before = ""


@cache
def parse_sources() -> list[tuple[str, ast.Module]]:
    """The source files that print messages; the sentences of reasons are tables of their own."""
    sources = []
    for path in sorted([*ROOT.glob("recsys/**/*.py"), *ROOT.glob("airflow_dags/*.py")]):
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith(("recsys/serving/sentences/", "recsys/dataset/demo/", "recsys/dataset/proposal/names")):
            sources.append((name, ast.parse(path.read_text("utf-8"))))
    return sources


def test_messages_are_plain_english() -> None:
    any_kind = re.compile("|".join(MESSAGES))
    found = [
        f"{name}:{line}: '{match[0]}' in '{text}': write {better}"
        for name, tree in parse_sources()
        for line, text in list_messages(tree)
        if any_kind.search(text)
        for pattern, better in MESSAGES.items()
        for match in re.finditer(pattern, text)
    ]
    assert not found, "\n".join(found)


def test_counts_agree_with_their_nouns() -> None:
    found = [
        f"{name}:{line}: {text}: use format_count of recsys.progress"
        for name, tree in parse_sources()
        for line, text in list_bare_counts(tree)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("code", "count"),
    [
        ('f"{n} items"', 1),
        ('f"{len(x):,} sampled rows of it"', 1),
        ('f"3 of {n} rows"', 0),
        ('f"{_MOST} files"', 0),
        ("f\"{format_count(n, 'item')} items\"", 0),
        ('f"{name} serves"', 0),
    ],
)
def test_counts_with_a_plural_are_found(code: str, count: int) -> None:
    assert len(list(list_bare_counts(ast.parse(code)))) == count


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

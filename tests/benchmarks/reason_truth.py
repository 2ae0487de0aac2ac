r"""Whether the reasons in published lists are true, by the raw events and texts alone.

    python tests/benchmarks/reason_truth.py --config configs/demo.yaml --home data/home
    python tests/benchmarks/reason_truth.py --config configs/demo.yaml --snapshot FOLDER --lists FILE \
        --run-date 2025-03-02

Nothing of recsys is imported: sentences are read as a user reads them, and every count, value, date and order that they
state is derived again from the snapshot's items and interactions before the run date. Two texts count as similar if the
TF-IDF cosine of their words (of single characters in Chinese) is above that of 95 % of the catalogue's random pairs.
The table has a row per sentence: rows, share of all rows, share that is true, and an example that is not.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
import yaml
from scipy.sparse import csr_array

_Q, _T = "“(?P<{}>.*)”", "“(?P<title>.*)”"
_YOU, _SIE = r"which you (?P<verb>[a-z ]+)", r"您(?P<verb>[^“]*)的"
# Name of a sentence -> how it reads in English and in Chinese.
_FORMS = {
    "near": (f"Similar to {_T}, {_YOU}", f"与{_SIE}{_T}相似"),
    "near_two": (
        f"In the vein of {_T} and {_Q.format('other')} from your history",
        f"与您历史中的{_T}和{_Q.format('other')}风格相近",
    ),
    "near_last": (f"Close to {_T}, the latest in your history", f"与您历史中最新的{_T}相近"),
    "pair": (
        rf"(?P<count>\d+) people took an interest in both this and {_T}, {_YOU}",
        rf"有(?P<count>\d+)人同时关注了它和{_SIE}{_T}",
    ),
    "pair_any": (
        r"(?P<count>\d+) people took an interest in both this and something in your history",
        r"有(?P<count>\d+)人同时关注了它和您历史中的内容",
    ),
    "after": (
        rf"(?P<count>\d+) people went on to this from {_T}, {_YOU}",
        rf"有(?P<count>\d+)人在{_SIE}{_T}之后接着关注了它",
    ),
    "repeat": (r"You (?P<verb>[a-z ]+) it before", r"您以前(?P<verb>.*)"),
    "by_one": (f"By (?P<value>.*), like {_T}, {_YOU}", f"来自(?P<value>.*)，与{_SIE}{_T}一样"),
    "by_many": (
        r"By (?P<value>.*), like (?P<count>\d+) others in your history",
        r"来自(?P<value>.*)，您的历史中还有其(?P<count>\d+)项",
    ),
    "by_any": ("By (?P<value>.*), as in your history", "来自(?P<value>.*)，您的历史中也有"),
    "tag_one": (f"Tagged {_Q.format('value')}, like {_T}, {_YOU}", f"带有标签{_Q.format('value')}，与{_SIE}{_T}一样"),
    "tag_many": (
        rf"Tagged {_Q.format('value')}, like (?P<count>\d+) others in your history",
        rf"带有标签{_Q.format('value')}，您的历史中另有(?P<count>\d+)项",
    ),
    "tag_any": (f"Tagged {_Q.format('value')}, as in your history", f"带有标签{_Q.format('value')}，您的历史中也有"),
    "match_one": (
        rf"The same (?P<column>\S+) as {_T}, {_YOU} \({_Q.format('value')}\)",
        f"与{_SIE}{_T}的(?P<column>.*)相同（{_Q.format('value')}）",
    ),
    "match_many": (
        rf"The same (?P<column>\S+) as (?P<count>\d+) others in your history \({_Q.format('value')}\)",
        rf"与您历史中另外(?P<count>\d+)项的(?P<column>.*)相同（{_Q.format('value')}）",
    ),
    "match_any": (
        rf"The same (?P<column>\S+) as in your history \({_Q.format('value')}\)",
        f"(?P<column>.*)为{_Q.format('value')}，您的历史中也有",
    ),
    "popular_in": (
        rf"Top 10 by popularity for (?P<column>\S+) {_Q.format('value')}, which is in your history",
        f"(?P<column>.*)为{_Q.format('value')}的最受欢迎的10项之一，您的历史中有此.*",
    ),
    "popular": (
        r"(?P<count>\d+) people took an interest in the last (?P<days>\d+) days",
        r"最近(?P<days>\d+)天有(?P<count>\d+)人关注",
    ),
    "rising": (
        r"Rising: (?P<count>\d+) new people in the last (?P<days>\d+) days, (?P<before>\d+) in the .*before",
        r"关注上升：最近(?P<days>\d+)天新增(?P<count>\d+)人，此前\d+天新增(?P<before>\d+)人",
    ),
    "popular_all_time": ("Among the 5 % most popular of all time", "历来最受欢迎的5%之一"),
    "new": ("New: added on (?P<date>.*)", "新上架：(?P<date>.*)"),
    "rare": ("Little known: fewer than 5 people so far", "小众：至今不到5人关注"),
    "catalogue": ("From the catalogue", "来自目录"),
}
# Verb -> kinds of event that it may stand for; the neutral verbs stand for every other kind.
_VERBS = {
    "viewed": "view",
    "clicked": "click",
    "liked": "like",
    "commented on": "comment",
    "shared": "share",
    "bought": "purchase",
    "rated": "rating",
    "borrowed": "loan",
    "浏览过": "view",
    "点击过": "click",
    "点赞过": "like",
    "评论过": "comment",
    "分享过": "share",
    "购买过": "purchase",
}
_NEUTRAL = ("chose", "came across", "选过", "见过")
_LABELS = {"类别": "category", "作者": "author", "标签": "tags", "tag": "tags", "类型": "genre", "年份": "year"}
_SAMPLED = 100_000


@dataclass(frozen=True)
class Facts:
    """Raw items and events before an instant, looked up in the plainest way.

    Attributes:
        items: as in a snapshot.
        events: as in a snapshot, before the instant.
        weights: event kind -> weight.
        now: 00:00 UTC of the run date.
    """

    items: pl.DataFrame
    events: pl.DataFrame
    weights: Mapping[str, float]
    now: datetime
    _near: dict[tuple[int, int], bool] = field(default_factory=dict)

    @cached_property
    def rows(self) -> dict[str, dict[str, object]]:
        return {row["item_id"]: row for row in self.items.iter_rows(named=True)}

    @cached_property
    def users(self) -> dict[str, dict[str, int]]:
        """Item -> user -> step of the user's last event with it."""
        found: dict[str, dict[str, int]] = defaultdict(dict)
        for user, item, step in self.events.group_by("user_id", "item_id").agg(pl.col("step").max()).iter_rows():
            found[item][user] = step
        return found

    @cached_property
    def histories(self) -> dict[str, dict[str, tuple[int, frozenset[str]]]]:
        """User -> item -> step of the last event, and kinds of the events with the largest weight."""
        found: dict[str, dict[str, tuple[int, frozenset[str]]]] = defaultdict(dict)
        grouped = self.events.group_by("user_id", "item_id").agg(pl.col("step").max(), pl.col("event").unique())
        for user, item, step, kinds in grouped.iter_rows():
            most = max(self.weights.get(kind, 0.0) for kind in kinds)
            strongest = frozenset(kind for kind in kinds if self.weights.get(kind, 0.0) == most)
            found[user][item] = (step, strongest)
        return found

    @cached_property
    def times(self) -> dict[str, list[tuple[datetime, datetime]]]:
        """Item -> first and last time of each of its users."""
        grouped = self.events.group_by("item_id", "user_id").agg(
            pl.col("time").min().alias("first"), pl.col("time").max().alias("last")
        )
        found: dict[str, list[tuple[datetime, datetime]]] = defaultdict(list)
        for item, _, first, last in grouped.iter_rows():
            found[item].append((first, last))
        return found

    @cached_property
    def popularity(self) -> list[int]:
        return sorted(len(users) for users in self.users.values())

    @cached_property
    def having(self) -> dict[tuple[str, str], list[int]]:
        """Column and value -> numbers of users of the items that have it."""
        found: dict[tuple[str, str], list[int]] = defaultdict(list)
        for item, row in self.rows.items():
            for column in self.columns:
                for value in read_values(row[column]):
                    found[column, value].append(len(self.users.get(item, ())))
        return found

    @cached_property
    def columns(self) -> list[str]:
        known = ("item_id", "title", "description", "available", "created_at")
        return [column for column in self.items.columns if column not in known]

    @cached_property
    def terms(self) -> tuple[csr_array, dict[str, int], float]:
        """TF-IDF rows of unit length, the row of each item, and the least similarity of near texts."""
        texts = {item: " ".join(str(part) for part in self._parts(row)) for item, row in self.rows.items()}
        vocabulary: dict[str, int] = {}
        cells: Counter[tuple[int, int]] = Counter()
        for number, text in enumerate(texts.values()):
            for word in re.findall(r"[\u4e00-\u9fff]|[^\W_\u4e00-\u9fff]{2,}", text.lower()):
                cells[number, vocabulary.setdefault(word, len(vocabulary))] += 1
        places, counts = np.array(list(cells), dtype=np.int64).reshape(-1, 2), np.array(list(cells.values()))
        frequency = np.bincount(places[:, 1], minlength=len(vocabulary))
        data = np.log1p(counts) * np.log(len(texts) / frequency)[places[:, 1]]
        lengths = np.sqrt(np.bincount(places[:, 0], weights=data**2, minlength=len(texts)))
        matrix = csr_array(
            (data / np.maximum(lengths, 1e-12)[places[:, 0]], (places[:, 0], places[:, 1])),
            shape=(len(texts), len(vocabulary)),
        )
        first, second = np.random.default_rng(1).integers(0, len(texts), (2, _SAMPLED))
        first, second = first[first != second], second[first != second]
        similar = np.asarray(matrix[first].multiply(matrix[second]).sum(axis=1)).ravel()
        return matrix, {item: number for number, item in enumerate(texts)}, float(np.quantile(similar, 0.95))

    def is_near(self, one: str, other: str) -> bool:
        """Return whether the texts of two items are similar."""
        matrix, numbers, least = self.terms
        pair = (numbers[one], numbers[other])
        if pair not in self._near:
            self._near[pair] = float((matrix[[pair[0]]] * matrix[[pair[1]]]).sum()) > least
        return self._near[pair]

    def _parts(self, row: Mapping[str, object]) -> Iterable[object]:
        yield from (row["title"], row["description"])
        for column in self.columns:
            yield from read_values(row[column])


def read_values(cell: object) -> list[str]:
    """Return the values of a cell: the members of a list, or a text at its commas."""
    if cell is None:
        return []
    values = cell if isinstance(cell, list) else str(cell).split(", ")
    return list(dict.fromkeys(value for value in values if value))


def shorten(text: object) -> str:
    """Return a title or value as a sentence shows it."""
    stripped = str(text).strip()
    return stripped if len(stripped) <= 80 else stripped[:80] + "…"


def classify(reason: str) -> tuple[str, dict[str, str]]:
    """Return the name of a sentence and what it states; the name is the sentence itself where it is unknown."""
    for name, forms in _FORMS.items():
        for form in forms:
            if found := re.fullmatch(form, reason, re.DOTALL):
                return name, found.groupdict()
    return reason, {}


def is_true(facts: Facts, user: str, item: str, name: str, said: Mapping[str, str]) -> bool:
    """Return whether a sentence about a user and an item is true; an unknown sentence is not."""
    if name not in _FORMS:
        return False
    history, row = facts.histories.get(user, {}), facts.rows[item]
    if "title" in said or "other" in said:
        # Any item with a title that is named may be meant.
        return any(
            _holds(facts, user, item, name, said, named)
            for named in history
            if shorten(facts.rows[named]["title"]) == said["title"]
            and named != item
            and str(facts.rows[named]["title"]).strip().lower() != str(row["title"]).strip().lower()
        )
    return _holds(facts, user, item, name, said, None)


def _holds(facts: Facts, user: str, item: str, name: str, said: Mapping[str, str], named: str | None) -> bool:
    history = facts.histories.get(user, {})
    if "verb" in said and not _is_verb(said["verb"], history.get(named or item, (0, frozenset()))[1]):
        return False
    if name.startswith("near"):
        return _check_nearness(facts, user, item, name, said, named)
    if name == "pair_any":
        others = [other for other in history if other != item]
        return any(_check_pair(facts, item, "pair", int(said["count"]), other) for other in others)
    if name in ("pair", "after"):
        return _check_pair(facts, item, name, int(said["count"]), named)
    if name.rpartition("_")[0] in ("by", "tag", "match"):
        return _check_values(facts, user, item, name, said, named)
    return _check_item(facts, user, item, name, said)


def _is_verb(verb: str, kinds: frozenset[str]) -> bool:
    if verb in _NEUTRAL:
        return bool(kinds) and not kinds & set(_VERBS.values())
    return _VERBS.get(verb) in kinds


def _check_nearness(facts: Facts, user: str, item: str, name: str, said: Mapping[str, str], named: str | None) -> bool:
    history = facts.histories[user]
    if named is None or not facts.is_near(item, named):
        return False
    if name == "near_last":
        return history[named][0] == max(step for step, _ in history.values())
    if name == "near_two":
        others = [other for other in history if shorten(facts.rows[other]["title"]) == said["other"]]
        return said["other"] != said["title"] and any(facts.is_near(item, other) for other in others if other != item)
    return True


def _check_pair(facts: Facts, item: str, name: str, count: int, named: str | None) -> bool:
    mine, theirs = facts.users.get(item, {}), facts.users.get(named or "", {})
    both = mine.keys() & theirs.keys()
    after = sum(mine[user] > theirs[user] for user in both)
    if name == "after":
        return count == after >= 3 and after > len(both) - after
    # More than if people chose both independently of one another.
    return count == len(both) >= 5 and len(both) * len(facts.histories) > len(mine) * len(theirs)


def _check_values(facts: Facts, user: str, item: str, name: str, said: Mapping[str, str], named: str | None) -> bool:
    columns = facts.columns
    if name.startswith("tag"):
        columns = ["tags"]
    elif "column" in said:
        columns = [_LABELS.get(said["column"], said["column"])]
    for column in columns:
        for value in read_values(facts.rows[item][column]):
            if shorten(value) != said["value"]:
                continue
            if named is not None and value in read_values(facts.rows[named][column]):
                return True
            others = [other for other in facts.histories.get(user, {}) if other != item]
            count = sum(value in read_values(facts.rows[other][column]) for other in others)
            if named is None and (count == int(said["count"]) >= 2 if "count" in said else count):
                return True
    return False


def _check_item(facts: Facts, user: str, item: str, name: str, said: Mapping[str, str]) -> bool:
    users, row = len(facts.users.get(item, ())), facts.rows[item]
    if name in ("popular", "rising"):
        start = facts.now - timedelta(days=int(said["days"]))
        earlier = start - timedelta(days=int(said["days"]))
        if name == "popular":
            return sum(last >= start for _, last in facts.times[item]) == int(said["count"]) >= 5
        new = sum(first >= start for first, _ in facts.times[item])
        before = sum(earlier <= first < start for first, _ in facts.times[item])
        return (new, before) == (int(said["count"]), int(said["before"])) and new >= 2 * before
    if name == "popular_all_time":
        return sum(other < users for other in facts.popularity) >= 0.95 * len(facts.popularity)
    if name == "popular_in":
        column = _LABELS.get(said["column"], said["column"])
        mine = [value for value in read_values(row[column]) if shorten(value) == said["value"]]
        others = [other for other in facts.histories.get(user, {}) if other != item]
        return any(
            sum(other >= users for other in facts.having[column, value]) <= 10
            and any(value in read_values(facts.rows[other][column]) for other in others)
            for value in mine
        )
    if name == "new":
        created = row["created_at"]
        aged = isinstance(created, datetime) and timedelta(0) <= facts.now - created <= timedelta(days=30)
        return aged and f"{created:%Y-%m-%d}" == said["date"]
    return name == "catalogue" or (name == "rare" and users < 5) or (name == "repeat")


def judge(facts: Facts, lists: pl.DataFrame) -> pl.DataFrame:
    """Return each row of lists with the name of its `sentence` and whether it is `true`."""
    names, truths = [], []
    for user, item, reason in lists.select("user_id", "item_id", "reason").iter_rows():
        name, said = classify(reason)
        column = _LABELS.get(said.get("column", ""), said.get("column", ""))
        names.append(f"{name} {column}" if name.startswith("match") else name)
        truths.append(is_true(facts, user, item, name, said))
    return lists.with_columns(sentence=pl.Series(names, dtype=pl.String), true=pl.Series(truths, dtype=pl.Boolean))


def summarise(judged: pl.DataFrame) -> pl.DataFrame:
    """Return a row per sentence: rows, share, share that is true, and a reason that is not."""
    return (
        judged.group_by("sentence")
        .agg(
            rows=pl.len(),
            true=pl.col("true").mean(),
            untrue=pl.concat_str("user_id", "item_id", "reason", separator=" ").filter(~pl.col("true")).first(),
        )
        .with_columns(share=pl.col("rows") / judged.height)
        .sort("rows", "sentence", descending=[True, False])
    )


def find_repeats(judged: pl.DataFrame) -> tuple[int, int]:
    """Return the most rows of a list with the same sentence, and with the same title in quotation marks after it."""
    sentences = judged.group_by("user_id", "sentence").len()["len"].max()
    said = judged.with_columns(said=pl.col("reason").map_elements(lambda text: _name_titles(text), pl.List(pl.String)))
    named = said.explode("said", empty_as_null=False).group_by("user_id", "said").len()["len"].max()
    return int(sentences or 0), int(named or 0)


def _name_titles(reason: str) -> list[str]:
    said = classify(reason)[1]
    return [said[key] for key in ("title", "other") if key in said]


def read_facts(snapshot: Path, run_date: str, weights: Mapping[str, float]) -> Facts:
    """Read a snapshot's items, and its events before a run date."""
    now = datetime.fromisoformat(run_date).replace(tzinfo=UTC)
    items, events = (pl.read_parquet(snapshot / f"{name}.parquet") for name in ("items", "interactions"))
    return Facts(items, events.filter(pl.col("time").is_null() | (pl.col("time") < now)), weights, now)


def main() -> None:
    """Judge and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--home", type=Path, help="its current snapshot and lists are judged")
    parser.add_argument("--snapshot", type=Path, help="folder of a snapshot, instead of the home's")
    parser.add_argument("--lists", type=Path, help="parquet file of lists, instead of the home's")
    parser.add_argument("--run-date", help="of these lists")
    parser.add_argument("--users", type=int, default=0, help="at most so many, drawn at random; 0: all")
    given = parser.parse_args()
    config = yaml.safe_load(given.config.read_text())
    weights = config["dataset"]["interactions"].get("event_weights") or {"interaction": 1.0}
    run_date, snapshot, lists = given.run_date, given.snapshot, given.lists
    if given.home:
        run_date = (given.home / "recommendations" / "CURRENT").read_text().strip().removeprefix("run_date=")
        snapshot = given.home / "snapshots" / (given.home / f"snapshots/{config['name']}.current").read_text().strip()
        lists = given.home / "recommendations" / f"run_date={run_date}" / "*.parquet"
    shown = pl.read_parquet(lists)
    if given.users:
        users = shown["user_id"].unique().sort()
        shown = shown.filter(pl.col("user_id").is_in(users.sample(min(given.users, len(users)), seed=0).implode()))
    judged = judge(read_facts(snapshot, run_date, weights), shown)
    table = summarise(judged)
    print(f"{'sentence':22s} {'rows':>8s} {'share':>7s} {'true':>7s}  untrue, for example")
    for row in table.iter_rows(named=True):
        shares = f"{row['share']:7.1%} {row['true']:7.1%}"
        print(f"{row['sentence'][:22]:22s} {row['rows']:8,d} {shares}  {row['untrue'] or ''}")
    most, titles = find_repeats(judged)
    print(f"{'all':22s} {judged.height:8,d} {1:7.1%} {judged['true'].mean():7.2%}")
    print(f"in one list at most {most} rows with one sentence, and {titles} that name one title")
    print(json.dumps({"rows": judged.height, "true": judged["true"].mean(), "largest_share": table["share"].max()}))


if __name__ == "__main__":
    main()

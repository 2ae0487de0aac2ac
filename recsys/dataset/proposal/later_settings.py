"""What is proposed for the stages after the data: windows, repeats, texts, sources and segments."""

from __future__ import annotations

import os

import polars as pl

from recsys.config import Config
from recsys.dataset.languages import ACCENTED, LANGUAGES, count_languages
from recsys.dataset.proposal.draft import Draft
from recsys.dataset.proposal.event_settings import EventFacts
from recsys.dataset.proposal.item_columns import ItemFacts
from recsys.dataset.proposal.questions import Decisions
from recsys.dataset.proposal.roles import Roles
from recsys.progress import format_count

_ENOUGH_USERS = 300
_REPEATED = 0.15
_TOKENS = (24, 32, 48, 64, 96, 128)
_MOST_THREADS = 8
# Language -> a checkpoint of the BERT family that knows it; the other one knows a hundred languages.
_CHECKPOINTS = {
    "Chinese": "bert-base-chinese",
    "German": "dbmdz/bert-base-german-cased",
    "Italian": "dbmdz/bert-base-italian-cased",
    "Spanish": "dccuchile/bert-base-spanish-wwm-cased",
}
_MULTILINGUAL = "bert-base-multilingual-cased"
# Shares of texts: a language other than English is the main one from here on, and so much more frequent.
_MAIN_SHARE, _LEAD = 0.15, 1.5


def count_threads() -> int:
    """Return the number of threads to use: the processors that this process may use, up to 8."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(available, _MOST_THREADS))


def propose_rest(draft: Draft, roles: Roles, items: ItemFacts, events: EventFacts, decisions: Decisions) -> None:
    """Propose the settings of all stages after the data."""
    repeats = _propose_repeats(draft, roles, events, decisions)
    protocol = _propose_windows(draft, roles, events)
    _propose_text(draft, items)
    depths = dict(Config.model_fields["candidates"].default.depths)
    has_order = events.times is not None or events.has_order
    if not has_order:
        del depths["transitions"]
    if events.times is None:
        # Without times popularity has no half-life.
        del depths["popular_all_time"]
    if repeats:
        depths["repeat"] = 100
    why = [] if has_order else ["no transitions, because the events have no order"]
    if protocol == "leave_last_out":
        depths["sequence"] = 100
        why.append("sequence is fitted only if the order of the histories predicts what comes next")
    if _has_values(draft) and (draft.get("windows label_windows") or 1) > 1:
        depths["attributes"] = 100
        why.append("attributes is used only if lists of the label windows are better with it")
    if depths != Config.model_fields["candidates"].default.depths:
        draft.put("candidates depths", depths, "; ".join(why))
    draft.put("generation n", 10)
    if items.segments:
        draft.put("evaluation segments item_columns", items.segments, "metrics for each value of this column")


def _has_values(draft: Draft) -> bool:
    """Return whether items have tags or attributes."""
    attributes = ("dataset", "items", "attributes")
    return bool(draft.get("dataset items columns tags")) or any(path[:3] == attributes for path in draft.values)


def _propose_repeats(draft: Draft, roles: Roles, events: EventFacts, decisions: Decisions) -> bool:
    share = share_repeated(roles, events)
    usual = "yes" if share >= _REPEATED else "no"
    unsure = 0.5 * _REPEATED <= share < 2 * _REPEATED and events.times is not None
    answer = decisions.decide(
        "repeats",
        ["no", "yes"],
        usual,
        clear=not unsure or events.meaning == "rating",
        text="May lists contain items that the user already has?",
        evidence=f"{share:.0%} of the sampled events repeat an earlier event of the same user and item",
    )
    shown = f"{share:.0%} of the sampled events repeat an earlier event on another day"
    draft.put("dataset repeats", answer == "yes", shown if share else "")
    draft.note("dataset repeats", decisions.is_open("repeats"))
    return answer == "yes"


def share_repeated(roles: Roles, events: EventFacts) -> float:
    """Return the share of events that repeat the user, the item and the kind of an earlier event on another day.

    A second row without a later day is a copy, or one more line of an order, and says nothing.
    """
    if events.times is None or len(events.times) != roles.interactions.frame.height:
        return 0.0
    view = roles.interactions
    frame = pl.DataFrame(
        {
            "user": view.columns[roles.user].values,
            "item": view.columns[roles.item].values,
            "kind": events.kinds if events.kinds is not None else pl.Series([""] * view.frame.height),
            "day": events.times.dt.date(),
        }
    )
    if events.predicted:
        frame = frame.filter(pl.col("kind").is_in(list(events.predicted)))
    days = frame.drop_nulls().unique()
    if not days.height:
        return 0.0
    return 1 - days.select("user", "item", "kind").unique().height / days.height


def _propose_windows(draft: Draft, roles: Roles, events: EventFacts) -> str:
    """Propose the windows; return the protocol."""
    put = "windows "
    if events.times is None and not events.has_order:
        draft.put(put + "protocol", "random", "no times and no order")
        draft.put(put + "holdout_share", 0.2)
        return "random"
    if events.times is None:
        draft.put(
            put + "protocol",
            "leave_last_out",
            "an order but no times, so each user's last item is the test",
        )
        draft.put(put + "label_windows", 1 if _count_users(roles) >= 1000 else 3)
        return "leave_last_out"
    known = events.times.drop_nulls()
    returning = _share_returning(roles, events.times)
    if returning is not None and returning < 0.2:
        share = f"only {returning:.0%} of the users in the last tenth of the events have earlier events"
        draft.put(put + "protocol", "leave_last_out", f"{share}, so each user's last item is the test")
        draft.put(put + "label_windows", 1 if _count_users(roles) >= 1000 else 3)
        return "leave_last_out"
    days = (known.max() - known.min()).total_seconds() / 86_400 if len(known) else 0.0  # type: ignore[operator,union-attr]
    cut = known.quantile(0.9)
    last = (known.max() - cut).total_seconds() / 86_400 if len(known) else 0.0  # type: ignore[operator,union-attr]
    draft.put(put + "protocol", "global_time", f"the sample spans {format_count(round(days), 'day')}")
    draft.put(
        put + "test_share", 0.1, f"the last tenth of the events, about {format_count(round(max(last, 1)), 'day')}"
    )
    users = _users_of_window(roles, events.times)
    pooled = 1 if users >= _ENOUGH_USERS else 3
    about = f"about {format_count(users, 'user')} in the last tenth" if roles.interactions.table.whole else ""
    draft.put(put + "label_windows", pooled, about)
    return "global_time"


def _count_users(roles: Roles) -> int:
    view = roles.interactions
    users = view.columns[roles.user].distinct
    return users if view.table.whole else max(users, 1000)


def _users_of_window(roles: Roles, times: pl.Series) -> int:
    """Return how many users have an event in the last tenth; of a part of the rows, as many as the sample tells."""
    view = roles.interactions
    users = view.columns[roles.user].values
    if len(times) != len(users):
        return _ENOUGH_USERS
    late = users.filter((times >= times.quantile(0.9)).fill_null(False)).n_unique()
    if view.table.whole:
        return late
    rows = view.rows or 10 * view.frame.height
    return max(late, round(late * min(rows / max(view.frame.height, 1), 20)))


def _share_returning(roles: Roles, times: pl.Series) -> float | None:
    """Return the share of the users of the last tenth who have earlier events; None if the sample cannot tell."""
    view = roles.interactions
    users = view.columns[roles.user].values
    if len(times) != len(users) or len(users) < 200:
        return None
    # Rows in order of users hold whole users; rows in order of time do not, unless all are here.
    runs = int((users != users.shift(1)).sum() or 0) / max(users.n_unique(), 1)
    if not view.table.whole and runs > 1.5:
        return None
    cut = times.quantile(0.9)
    late = (times >= cut).fill_null(False)
    before = set(users.filter(~late).drop_nulls())
    last = set(users.filter(late).drop_nulls())
    return len(last & before) / max(len(last), 1)


def _name_language(texts: pl.Series) -> tuple[str, float]:
    """Return the main language of texts and its share; titles too short to tell count as English."""
    shares = {name: share for name, share in count_languages(texts.fill_null("")).items() if name in LANGUAGES}
    best = max(shares, key=lambda name: shares[name], default="English")
    if shares.get(best, 0.0) < max(_MAIN_SHARE, _LEAD * shares.get("English", 0.0)):
        best = "English"
    return best, shares.get(best, 0.0)


def _propose_text(draft: Draft, items: ItemFacts) -> None:
    language, share = _name_language(items.texts)
    evidence, check = "English texts", None
    if language != "English":
        found = f"seems to be {language}" if language != ACCENTED else "seems not to be English"
        check = (
            f"The language of the texts {found} ({share:.0%} show it), but this checkpoint knows only English. If you "
            "can, set the folder or hub name of a BERT checkpoint for the language, such as "
            f"{_CHECKPOINTS.get(language, _MULTILINGUAL)}. If you have none, text.own_bert trains one on the texts."
        )
        evidence = ""
    elif share < _MAIN_SHARE:
        evidence = "the texts are too short to show their language; this checkpoint knows only English"
    draft.put("text checkpoint", "all-MiniLM-L6-v2", evidence, check)
    draft.put("text fields", items.fields, "the parts of an item's text, in order")
    wide = items.texts.str.count_matches(r"[^\x00-\x{24f}]")
    tokens = (items.texts.str.len_chars() - wide) / 4.5 + wide + 8
    need = float(tokens.quantile(0.75) or 24)
    length = next((size for size in _TOKENS if size >= need), _TOKENS[-1])
    draft.put(
        "text max_tokens", length, f"three out of four texts have at most about {format_count(round(need), 'token')}"
    )

"""Which verb says what a user did with an item, by the name of the event kind."""

from __future__ import annotations

import numpy as np

from recsys.config import InteractionFiles
from recsys.dataset.ingestion.meaning import mark_consumed, order_kinds
from recsys.dataset.proposal.names import plain, split_name

# Key of the verb -> words of the names of event kinds.
_WORDS = {
    "bought": "purchase purchased purchases buy bought order ordered paid sale sold transaction "
    "购买 下单 支付 付款 成交",
    "borrowed": "borrow borrowed loan loaned checkout checkedout renewal 借阅 借",
    "reviewed": "review reviewed reviews",
    "rated": "rate rated rating ratings score scored star stars 评分 打分",
    "commented": "comment commented comments reply replied 评论",
    "shared": "share shared shares forward forwarded repost 分享 转发",
    "liked": "like liked likes favorite favourite favorited favourited fav heart love loved upvote thumbsup 点赞 喜欢",
    "saved": "save saved bookmark bookmarked collect wishlist wish wishlisted watchlist toread wanttoread towatch "
    "toplay cart addtocart basket addtobasket 收藏 想读 想看 加购 加入购物车",
    "read": "read finished reading currentlyreading 读过 阅读",
    "watched": "watch watched watching stream streamed 看过 观看",
    "listened": "listen listened listens 收听",
    "played": "play played plays 播放",
    "downloaded": "download downloaded downloads 下载",
    "clicked": "click clicked clicks tap select selectitem open opened 点击",
    "viewed": "view viewed views pv pageview viewitem visit visited browse browsed look impression shown "
    "浏览 查看 曝光",
}
VERBS = (*_WORDS, "chose", "met")


def list_verbs(files: InteractionFiles) -> list[str]:
    """Return the key of the verb of each event kind, in the order of `order_kinds`.

    Other names are neutral: the user chose an item that the lists should predict, and came across others.
    """
    consumed = dict(zip(files.event_weights, mark_consumed(files, np.arange(len(files.event_weights))), strict=True))
    return [find_verb(kind) or ("chose" if consumed[kind] else "met") for kind in order_kinds(files)]


def find_verb(kind: str) -> str | None:
    """Return the key of the verb that a name says, None where it says none."""
    words = split_name(kind)
    found = {"".join(words), *words}
    for verb, known in _WORDS.items():
        names = {plain(word) for word in known.split()}
        if found & names or any(not name.isascii() and name in kind for name in names):
            return verb
    return None

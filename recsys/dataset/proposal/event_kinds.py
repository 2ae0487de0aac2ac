"""What the names of event kinds say: how much an event tells, and whether lists should predict it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from recsys.dataset.proposal.names import plain, split_name

Meaning = Literal["shown", "positive", "owned", "negative"]
# Words -> weight and meaning; the first line that has a word of the kind counts.
_KINDS: tuple[tuple[float, Meaning, str], ...] = (
    (
        0.0,
        "negative",
        "dislike unlike remove removed removefromcart skip skipped hide hidden block refund refunded refundeds "
        "cancel "
        "cancelled canceled return returned voided void delete deleted unfollow unsubscribe downvote "
        "thumbsdown report "
        "storniert stornierung retoure abgebrochen erstattet annule rembourse retourne cancelado devuelto "
        "reembolsado "
        "annullato reso expired failed fraud 取消 退款 退货 不喜欢 キャンセル 返品 отмена возврат",
    ),
    (
        0.1,
        "shown",
        "impression impressions shown exposure exposed display displayed seen recommended viewitemlist promotion "
        "notclicked noclick ignored 曝光 展示",
    ),
    (
        1.0,
        "owned",
        "toread wanttoread wishlist wish wishlisted want wanted watchlist planned plantowatch plantoread "
        "towatch toplay "
        "backlog wunschliste merkliste merkzettel liste souhaits deseos desiderata saveforlater 想读 想看 想要 "
        "愿望单 "
        "読みたい ほしい物",
    ),
    (
        5.0,
        "positive",
        "purchase purchased purchases buy bought transaction order ordered paid sale sold fulfilled completed "
        "complete "
        "kauf gekauft bestellt bezahlt verkauft bestellung achat achete commande paye compra comprado pagado pedido "
        "acquisto ordine vendita aankoop betaald kop kjop osto zakup koupe satin покупка заказ куплено "
        "购买 下单 支付 付款 成交 購入 注文 구매",
    ),
    (
        4.0,
        "positive",
        "cart addtocart basket addtobasket checkout begincheckout share shared comment commented subscribe "
        "subscribed "
        "warenkorb panier carrito carrello carrinho winkelwagen корзина 加购 加入购物车 分享 评论 转发 カート "
        "장바구니",
    ),
    (
        3.0,
        "positive",
        "like liked favorite favourite favorited fav heart love loved bookmark bookmarked save saved collect follow "
        "upvote thumbsup rating rated review reviewed rate read finished borrow borrowed loan loaned issue issued "
        "checkedout renewal renew watched bewertung ausleihe ausgeliehen gelesen verlaengerung pret emprunt lu "
        "prestamo "
        "leido prestito letto lido gefallt merken 收藏 点赞 喜欢 借阅 读过 看过 お気に入り いいね 貸出 좋아요 찜",
    ),
    (
        2.0,
        "positive",
        "click clicked clicks tap select selectitem play played plays listen listened watch stream streamed download "
        "downloaded open opened currentlyreading reading watching detail klick clic reproducido ecoute escuchado "
        "wiedergabe клик прослушано 点击 播放 クリック 再生 클릭 재생",
    ),
    (
        1.0,
        "positive",
        "view viewed views pv pageview viewitem visit visited browse browsed look screenview ansicht aufruf "
        "angesehen "
        "vue vu consulte vista visto visualizzazione bekeken просмотр 浏览 查看 閲覧 조회",
    ),
)


@dataclass(frozen=True)
class Kind:
    """An event kind.

    Attributes:
        name: as in the data.
        weight: of its events.
        meaning: what lists do with it.
        known: whether its name says so; otherwise weight and meaning are a guess.
    """

    name: str
    weight: float
    meaning: Meaning
    known: bool


def read_kind(name: str) -> Kind:
    """Return what the name of an event kind says."""
    words = split_name(name)
    compact = "".join(words)
    for candidates in ([compact], list(words), _pairs(words)):
        for weight, meaning, text in _KINDS:
            known = _known(text)
            if any(word in known for word in candidates):
                return Kind(name, weight, meaning, True)
    for weight, meaning, text in _KINDS:
        if any(not word.isascii() and word in compact for word in _known(text)):
            return Kind(name, weight, meaning, True)
    return Kind(name, 1.0, "positive", False)


# Parts of names, and words of names, that tell the one kind of event of a table.
_LOANS = "loan borrow ausleih leih prestam 貸出 借阅 выдач".split()  # noqa: SIM905
_LOAN_WORDS = frozenset(("checkout", "checkouts", "pret", "prets", "patron"))
_PURCHASES = "order orders purchase purchases sale sales transaction transactions invoice"
_PURCHASE_WORDS = frozenset(_PURCHASES.split())


def name_kind(names: Sequence[str]) -> str:
    """Return what to call the events of a table without kinds, by the names of its files and columns."""
    text = plain(" ".join(names))
    words = {word for name in names for word in split_name(name)}
    if words & _LOAN_WORDS or any(part in text for part in _LOANS):
        return "loan"
    return "purchase" if words & _PURCHASE_WORDS else "interaction"


def _pairs(words: tuple[str, ...]) -> list[str]:
    return [first + second for first, second in itertools.pairwise(words)]


def _known(text: str) -> frozenset[str]:
    return frozenset(plain(word) for word in text.split())

"""Texts in the encodings of other scripts are recognized."""

from __future__ import annotations

import pytest

from recsys.dataset.proposal.encodings import guess_encoding

RUSSIAN = "Дата выдачи;Номер читателя;Название\n01.03.2023;17;Золотая роза и тайна\n"
CHINESE = "借阅日期,读者证号,书名\n2023-03-01,17,红楼梦的故事与人物\n"
JAPANESE = "貸出日,利用者番号,書名\n2023/03/01,17,銀河鉄道の夜とポラーノの広場\n"
KOREAN = "대출일,회원번호,제목\n2023-03-01,17,소나기와 메밀꽃 필 무렵\n"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (RUSSIAN, "windows-1251"),
        (RUSSIAN, "koi8-r"),
        (CHINESE, "gb18030"),
        (
            CHINESE.replace("红楼梦", "紅樓夢").replace("阅", "閱").replace("读", "讀").replace("证号书", "證號書"),
            "gb18030",
        ),
        (JAPANESE, "shift_jis"),
        (JAPANESE, "euc-jp"),
        (KOREAN, "euc-kr"),
    ],
)
def test_encodings_of_other_scripts(text: str, encoding: str) -> None:
    assert guess_encoding(text.encode(encoding) * 3) == encoding


def test_a_character_may_be_cut() -> None:
    assert guess_encoding((JAPANESE * 3).encode("shift_jis")[:-2]) == "shift_jis"


def test_too_few_characters_tell_nothing() -> None:
    assert guess_encoding("id,name\n1,роза\n".encode("windows-1251")) is None

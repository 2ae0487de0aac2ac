import pytest
from raw_tables import failure, read, write

from recsys.dataset.raw import delimited


def test_accents_far_down_turn_a_plain_file_into_windows_1252(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(delimited, "HEAD_BYTES", 100)
    monkeypatch.setattr(delimited.read_head, "__defaults__", (100,))
    monkeypatch.setattr(delimited.Fields.__init__, "__defaults__", (64,))
    rows = [(str(n), f"plain {n}") for n in range(60)] + [("60", "café"), ("61", "naïve")]
    path = write(tmp_path / "a.csv", b"id,name\n" + "".join(f"{k},{v}\n" for k, v in rows).encode("cp1252"))
    assert read(path).values == rows
    assert "a.csv: line 62 is not UTF-8; read as windows-1252" in caplog.text
    message = failure(path, encoding="utf-8")
    assert "a.csv: line 62 is not UTF-8 text (byte 0xe9)" in message
    assert "dataset.items.encoding" in message
    # A damaged character.
    path = write(tmp_path / "c.csv", "id,name\n1,Käse\n".encode() + b"2,\xe9\n")
    assert "c.csv: line 3 is not UTF-8 text (byte 0xe9)" in failure(path)
    # Once a letter was read as UTF-8, the file is not Windows-1252.
    path = write(tmp_path / "b.csv", "id,name\n1,Käse\n".encode() + b"2,x\n" * 40 + "3,café\n".encode("cp1252"))
    assert "b.csv: line 43 is not UTF-8 text" in failure(path)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "utf-16-le", "gb18030", "shift_jis"])
def test_text_cut_inside_a_character_at_the_end_of_a_block_is_read_whole(tmp_path, monkeypatch, encoding):
    monkeypatch.setattr(delimited.read_head, "__defaults__", (101,))
    monkeypatch.setattr(delimited.Fields.__init__, "__defaults__", (37,))
    rows = [(str(n), f"日本{n}本") for n in range(50)]
    text = "id,name\n" + "".join(f"{key},{value}\n" for key, value in rows)
    form = {"encoding": encoding} if encoding in ("gb18030", "shift_jis") else {}
    assert read(write(tmp_path / "a.csv", text.encode(encoding)), **form).values == rows


def test_unknown_encoding(tmp_path):
    assert "no encoding 'klingon'" in failure(write(tmp_path / "a.csv", "id,name\n1,a\n"), encoding="klingon")


def test_wrong_encoding_names_the_line(tmp_path):
    path = write(tmp_path / "a.csv", "id,name\n1,a\n2,\x8d\n".encode("latin-1"))
    assert "a.csv: line 3 is not CP1252 text" in failure(path, encoding="windows-1252")


@pytest.mark.parametrize("title", ["L'été", "N° commande", "créée", "« été »", "5 €", "¿Qué año?", "Größe Öl"])
def test_western_text_with_few_or_lone_accents(tmp_path, title):
    assert read(write(tmp_path / "a.csv", f"id,name\n1,{title}\n".encode("cp1252"))).values == [("1", title)]


@pytest.mark.parametrize(
    ("title", "encoding"),
    [
        *(("Яблоко", "cp1251"), ("Яблоко", "koi8-r"), ("りんご", "shift_jis")),
        *(("香蕉", "gb18030"), ("苹果手机壳", "gb18030"), ("蘋果手機", "big5")),
    ],
)
def test_text_of_other_scripts_is_not_taken_for_western(tmp_path, title, encoding):
    message = failure(write(tmp_path / "a.csv", f"id,name\n1,{title}\n2,x\n".encode(encoding)))
    assert "a.csv: line 2 is n" in message
    assert "set dataset.items.encoding, such as gb18030, shift_jis or windows-1251" in message


def test_a_line_in_another_encoding_is_to_be_fixed(tmp_path):
    content = "id,name\n1,Äpfel\n".encode() + "2,Größe\n".encode("cp1252")
    assert "line 3 is not UTF-8 text (byte 0xf6), unlike the lines above; fix the line" in failure(
        write(tmp_path / "a.csv", content)
    )


def test_encodings_that_are_not_of_text_and_utf8_in_another_encoding(tmp_path):
    path = write(tmp_path / "a.csv", "id,name\n1,Äpfel\n")
    assert "no encoding 'zlib'" in failure(path, encoding="zlib")
    assert "but looks like UTF-8; set dataset.items.encoding to utf-8, or remove the setting" in failure(
        path, encoding="utf-16"
    )

import pytest
from raw_tables import failure, read, write

from recsys.config.raw_files import RawFiles
from recsys.dataset.raw.dialect import Dialect, detect_dialect
from recsys.dataset.raw.header import has_header
from recsys.errors import DataError


def detect(text: str | bytes, name: str = "a.csv", **form: object) -> Dialect:
    head = text.encode() if isinstance(text, str) else text
    return detect_dialect("items", name, head, RawFiles.model_validate({"path": "x"} | form))


# --- separators ----------------------------------------------------------------------------------------------

SEPARATORS = {
    "comma": ("id,name\n1,a\n", ","),
    "semicolon": ("Nr;Name;Preis\n0;Ding 0;0,99\n1;Ding 1;1,99\n", ";"),
    "semicolon, decimal commas everywhere": ("1;0,99;2,50\n2;1,99;3,50\n", ";"),
    "tab in a .csv": ("id\tname\n1\ta, b\n2\tc, d\n", "\t"),
    "bar": ("1|Toy Story|01-Jan-1995||http://x\n2|GoldenEye|01-Jan-1995||http://y\n", "|"),
    "colons": ("1::Toy Story (1995)::Animation|Comedy\n2::Jumanji (1995)::Adventure|Children\n", "::"),
    "commas inside quotes": ('id;name\n1;"a, b, c"\n2;"d, e, f"\n', ";"),
    "commas in a text of several lines": ('id;name;x\n1;"a, b\nc, d";y\n2;"e";z\n', ";"),
    "tags with bars": ("id,tags\n1,a|b\n2,c|d|e\n", ","),
    "a single column": ("id\n1\n2\n", ","),
    "a single column of texts": ("title\nHello, world\nAnd, again\n", "\t"),
    "Hive": ("1\x01a\n2\x01b\n", "\x01"),
}


@pytest.mark.parametrize("case", SEPARATORS)
def test_separator(case):
    text, separator = SEPARATORS[case]
    assert detect(text).separator == separator


def test_the_suffix_decides_between_separators_that_fit_equally():
    text = "a,b\tc\n1,2\tx\n"
    assert [detect(text, name).separator for name in ("a.tsv", "a.csv", "a.tsv.gz")] == ["\t", ",", "\t"]
    assert detect(text, "a.tsv", separator=",").names == ("a", "b\tc")


# --- headers -------------------------------------------------------------------------------------------------

WITH_HEADER = {
    "numbers below": "user,item\n1,2\n3,4\n",
    "texts only": "user,name\nann,x\nbob,y\n",
    "no row": "user1,item1\n",
    "missing words in a column of numbers": "a,b\n\\N,NULL\n1,2\n",
    "index without a name": ",id\n0,a\n1,b\n",
}
WITHOUT_HEADER = {
    "MovieLens u.data": "196\t242\t3\t881250949\n186\t302\t3\t891717742\n",
    "Steam": '151603712,"The Elder Scrolls V Skyrim",purchase,1.0,0\n151603712,"Fallout 4",play,87.0,0\n',
    "Last.fm": "user_000001\t2009-05-04T23:08:57Z\tf1b1cf71\tDeep Dish\nuser_000001\t2009-05-04T13:54:10Z\ta7\tX\n",
    "MIND news": "N55528\tlifestyle\tThe Brands\thttps://x\nN19639\thealth\t50 "
    "Habits\thttps://y\nN6\tnews\tZ\thttps://z\n",
    "missing word first": "1,\\N,x\n2,5,y\n",
    "dates": "a,12/05/2020\nb,13/05/2020\n",
}


@pytest.mark.parametrize("case", WITH_HEADER)
def test_header_is_detected(case):
    assert detect(WITH_HEADER[case]).header


@pytest.mark.parametrize("case", WITHOUT_HEADER)
def test_no_header_is_detected_and_logged(case, caplog):
    caplog.set_level("INFO")
    dialect = detect(WITHOUT_HEADER[case])
    assert not dialect.header
    assert dialect.names == tuple(str(n) for n in range(1, len(dialect.names) + 1))
    assert "no header (the first line looks like data), columns 1, 2" in caplog.text


def test_header_as_set():
    assert detect("1,2\n3,4\n", header=True).names == ("1", "2")
    assert detect("a,b\nc,d\n", header=False).names == ("1", "2")
    assert detect("a,b,c\n1,2,3\n", names=["x", "y"]).names == ("x", "y", "3")
    assert not has_header([["1"]])
    assert has_header([])


# --- encodings -----------------------------------------------------------------------------------------------

ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be"]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_encoding(encoding):
    dialect = detect("id,name\n1,Käse 书 😀\n".encode(encoding))
    assert dialect.encoding == encoding
    assert dialect.names == ("id", "name")


@pytest.mark.parametrize(
    "text", ["id,name\n1,café à Noël\n", "id,name\n1,Müller’s Straße – süß\n", "id,price\n1,5 €\n"]
)
def test_western_text_is_read_as_windows_1252_and_logged(text, caplog):
    caplog.set_level("INFO")
    assert detect(text.encode("windows-1252")).encoding == "windows-1252"
    assert "encoding windows-1252" in caplog.text


@pytest.mark.parametrize(
    ("text", "encoding"),
    [("Война и мир", "cp1251"), ("吾輩は猫である", "shift_jis"), ("红楼梦", "gb18030"), ("Πόλεμος", "cp1253")],
)
def test_other_scripts_are_never_guessed(text, encoding):
    data = f"id,name,kind\n1,plain,view\n2,{text},view\n".encode(encoding)
    with pytest.raises(DataError, match=r"a.csv: line 3 is neither UTF-8 nor Western text .* dataset.items.encoding"):
        detect(data)
    assert detect(data, encoding=encoding).names == ("id", "name", "kind")


# --- quotes --------------------------------------------------------------------------------------------------


def test_quotes_that_enclose_are_letters_or_have_backslashes(caplog):
    caplog.set_level("INFO")
    assert detect('id,name\n1,"a, b"\n').quote == '"'
    assert not caplog.text
    assert detect('id\tname\n1\t"Heroes\n2\tb\n', "a.tsv").quote == ""
    assert "quotes as ordinary characters" in caplog.text
    assert detect('id,name\n1,"a \\"b\\" c"\n').escape == "backslash"
    assert "backslash" in caplog.text
    assert detect("id,name\n1,'a, b'\n", quote="'").quote == "'"


def test_a_stray_quote_does_not_make_the_others_letters():
    text = 'id,name\n1,"A"\n2,"B\n3,"C, c"\n4,"D"\n'
    assert detect(text).quote == '"'
    assert detect(text.replace("C, c", "C")).quote == '"'
    assert detect('id,name\n1,"A one\n2,b\n').quote == ""


def test_lines_of_a_title_above_the_header_are_left_out(tmp_path):
    rows = [("1", "a"), ("2", "b")]
    for title in ("Orders of 2025\n", "Orders\nfrom;2025-01-01\n\n", "# exported,by,a tool\n"):
        path = write(tmp_path / "a.csv", f"{title}id,name\n1,a\n2,b\n")
        table = read(path)
        assert table.values == rows
        assert table.lines == [title.count("\n") + 2, title.count("\n") + 3]
    assert "no column 'name'; found 'id', 'nam'" in failure(write(tmp_path / "b.csv", "id,nam\n1,name\n"))

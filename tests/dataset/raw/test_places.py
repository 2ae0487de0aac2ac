import gzip
import logging
import zipfile
from pathlib import Path

import pytest

from recsys.config.raw_files import RawFiles
from recsys.dataset.raw.batches import Source
from recsys.dataset.raw.places import find_sources
from recsys.errors import DataError

CSV = b"id,name\n1,a\n"
LINES = b'{"id": 1, "name": "a"}\n'
PARQUET = b"PAR1" + bytes(20) + b"PAR1"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path))
    return tmp_path.resolve()


def write(path: Path, content: bytes = CSV) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def pack(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def find(path: str, **settings) -> list[Source]:
    return find_sources("items", RawFiles(path=path, **settings))


def found(path: str, **settings) -> list[tuple[str, str]]:
    return [(source.name, source.format) for source in find(path, **settings)]


def failure(path: str, **settings) -> str:
    with pytest.raises(DataError) as caught:
        find(path, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- files, folders, patterns ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.csv", CSV, "csv"),
        ("a.TSV", CSV, "csv"),
        ("u.data", CSV, "csv"),
        ("a.txt", CSV, "csv"),
        ("a.txt", LINES, "json"),
        ("a.json", LINES, "json"),
        ("a.ndjson.gz", gzip.compress(LINES), "json"),
        ("a.pq", PARQUET, "parquet"),
        ("u.item", CSV, "csv"),
        ("part-00000", LINES, "json"),
        ("export", PARQUET, "parquet"),
        ("items.xls", bytes.fromhex("d0cf11e0a1b11ae1") + bytes(500), "excel"),
        ("items.xls", CSV, "csv"),
    ],
)
def test_format_of_a_single_file_is_what_it_holds(folder, name, content, expected):
    write(folder / name, content)
    assert found(name) == [(name, expected)]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (bytes.fromhex("d0cf11e0a1b11ae1") + bytes(500), "excel"),
        (PARQUET, "parquet"),
        (LINES, "json"),
        (gzip.compress(PARQUET), "parquet"),
    ],
)
def test_first_bytes_win_over_a_name_that_lies_and_it_is_logged(folder, caplog, content, expected):
    write(folder / "a.csv", content)
    with caplog.at_level(logging.INFO):
        assert found("a.csv") == [("a.csv", expected)]
    assert "a.csv: is read as" in caplog.text


def test_content_that_is_no_table_is_named_with_what_to_do(folder):
    write(folder / "a.csv", b"%PDF-1.7\n")
    assert failure("a.csv") == "a.csv: is a PDF document; export it as CSV, JSON lines or Parquet"
    pack(folder / "b.csv", {"[Content_Types].xml": b"x", "word/document.xml": b"x"})
    assert failure("b.csv") == "b.csv: is a Word document; export its table as CSV"
    write(folder / "c.csv", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    assert "git lfs pull" in failure("c.csv")
    write(folder / "nothing", b"")
    assert "nothing: the file is empty" in failure("nothing")


def test_folder_is_read_sorted_without_hidden_files_and_notes(folder):
    for name in ("b/part.csv", "a.csv.gz", "_SUCCESS", ".hidden.csv", "_temporary/x.csv", "README.md", "~$a.xlsx"):
        write(folder / "set" / name, gzip.compress(CSV) if name.endswith("gz") else CSV)
    assert found("set") == found("set/**") == [("set/a.csv.gz", "csv"), ("set/b/part.csv", "csv")]
    assert found("set/*/*.csv") == [("set/b/part.csv", "csv")]
    assert found("set/_temp*/*.csv") == [("set/_temporary/x.csv", "csv")]
    assert [source.place for source in find("set")] == ["", str(folder / "set/b/part.csv")]
    assert [source.size for source in find("set")] == [len(gzip.compress(CSV)), len(CSV)]


def test_texts_of_a_folder_count_where_there_is_no_table(folder, caplog):
    for name in ("movies.dat", "ratings.dat", "README.txt"):
        write(folder / "ml" / name)
    assert found("ml") == [("ml/movies.dat", "csv"), ("ml/ratings.dat", "csv")]
    write(folder / "ml/a.csv")
    with caplog.at_level(logging.INFO):
        assert found("ml") == [("ml/a.csv", "csv")]
    assert "skipped 2 files without a data suffix, such as ml/movies.dat" in caplog.text
    assert found("ml/*") == [("ml/a.csv", "csv"), ("ml/movies.dat", "csv"), ("ml/ratings.dat", "csv")]


def test_files_without_a_known_suffix_are_read_where_a_pattern_or_a_format_asks_for_them(folder):
    write(folder / "out/part-00000")
    write(folder / "out/part-00001")
    assert "no data file in this folder" in failure("out")
    assert [name for name, _ in found("out/part-*")] == ["out/part-00000", "out/part-00001"]
    assert [name for name, _ in found("out", format="csv")] == ["out/part-00000", "out/part-00001"]


def test_files_of_a_folder_that_are_left_out_are_said(folder, caplog):
    write(folder / "events/day=1/x.csv")
    write(folder / "events/day=2", b"../archive/feb")
    with caplog.at_level(logging.INFO):
        assert found("events") == [("events/day=1/x.csv", "csv")]
    assert "skipped 1 file without a data suffix, such as events/day=2" in caplog.text


def test_same_file_plain_and_compressed_is_not_read_twice(folder):
    write(folder / "set/a.csv")
    write(folder / "set/a.csv.gz", gzip.compress(CSV))
    assert "a.csv exists twice, uncompressed and as a.csv.gz; remove one" in failure("set")


def test_mixed_formats_need_a_pattern_or_a_format(folder):
    write(folder / "set/a.csv")
    write(folder / "set/b.jsonl", LINES)
    message = failure("set")
    assert "mixed formats: CSV (a.csv), JSON lines (b.jsonl)" in message
    assert "glob" in message
    assert found("set/*.jsonl") == [("set/b.jsonl", "json")]


def test_format_that_is_set_may_not_contradict_the_content(folder):
    write(folder / "a.csv", PARQUET)
    message = failure("a.csv", format="csv")
    assert "a.csv: is Parquet, but dataset.items.format is csv; set it to parquet, or remove the setting" in message
    write(folder / "b.txt", b'{"a" = 1}\n')
    assert found("b.txt", format="csv") == [("b.txt", "csv")]
    assert "Delta table" not in failure("a.csv", format="delta").partition("but")[0]


def test_paths_without_data_say_where_to_look(folder):
    (folder / "void").mkdir()
    assert "no data file in this folder" in failure("void")
    for absent in ("absent.csv", "absent/*.csv"):
        message = failure(absent)
        assert "no such file" in message
        assert "dataset.items.path" in message
        assert "RECSYS_DATA" in message
    assert "ftp:// is unknown; expected a path, or one of s3://" in failure("ftp://host/a.csv")


def test_data_folder_may_have_any_name(tmp_path, monkeypatch):
    folder = tmp_path / "data [1] *? #2 100%20"
    # What a pattern made of the folder's name would match instead.
    write(tmp_path / "data 1 xy #2 100%20/a.csv")
    write(folder / "b/c.csv")
    monkeypatch.setenv("RECSYS_DATA", str(folder))
    assert found("b") == found("./b/[a-d].csv") == found("**/*.csv") == [("b/c.csv", "csv")]
    assert "no such file" in failure("*.csv")


def test_path_with_brackets_is_that_file_before_it_is_a_pattern(folder):
    write(folder / "a[1].csv")
    write(folder / "a1.csv")
    assert found("a[1].csv") == [("a[1].csv", "csv")]
    (folder / "a[1].csv").unlink()
    assert found("a[1].csv") == [("a1.csv", "csv")]


# --- partitions, links, tables -----------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["events", "events/*/*.csv", "events/**/*.csv", "events/*", "ev*", "events/day=*"])
def test_linked_folders_are_followed_and_no_file_is_read_twice(folder, path):
    write(folder / "events/day=1/x.csv")
    write(folder / "archive/feb/x.csv")
    (folder / "events/day=2").symlink_to(folder / "archive/feb")
    (folder / "events/day=3").symlink_to(folder / "archive/feb")
    # A folder that contains itself.
    (folder / "archive/feb/again").symlink_to(folder / "archive")
    sources = find(path)
    assert [source.name for source in sources] == ["events/day=1/x.csv", "events/day=2/x.csv"]
    assert [source.partitions for source in sources] == [{"day": "1"}, {"day": "2"}]


def test_partitions_are_decoded_and_may_be_missing(folder):
    write(folder / "e/country=C%C3%B4te d%27Ivoire/day=__HIVE_DEFAULT_PARTITION__/a=b.csv")
    expected = {"country": "Côte d'Ivoire", "day": None}
    for path in ("e", "e/*/*/*.csv", "e/country=C%C3%B4te d%27Ivoire/day=__HIVE_DEFAULT_PARTITION__/a=b.csv"):
        assert [source.partitions for source in find(path)] == [expected]


def test_delta_table_is_one_source_that_only_its_reader_opens(folder):
    write(folder / "lake/items/_delta_log/00000000000000000000.json", b"{}")
    write(folder / "lake/items/day=1/part-0.parquet", PARQUET)
    for path in ("lake/items", "lake", "lake/*"):
        (source,) = find(path)
        assert (source.name, source.format, source.place) == ("lake/items", "delta", str(folder / "lake/items"))
        with pytest.raises(DataError, match="is a Delta table"):
            source.open()
    write(folder / "lake/a.csv")
    assert "mixed formats" in failure("lake")
    assert "is a Delta table, but dataset.items.format is csv" in failure("lake/items", format="csv")


# --- archives ----------------------------------------------------------------------------------------------


def test_members_of_an_archive_are_sources(folder):
    members = {"x/a.csv": CSV, "x/b.csv.gz": gzip.compress(CSV), "__MACOSX/x/._a.csv": b"?", "x/README.txt": b"?"}
    pack(folder / "all.zip", members)
    sources = find("all.zip")
    assert [source.name for source in sources] == ["all.zip/x/a.csv", "all.zip/x/b.csv.gz"]
    for source in sources:
        with source.open() as content, source.open_seekable() as again:
            assert content.read() == again.read() == CSV
    assert found("all.zip/x/a.csv") == found("all.zip/x/*.csv") == [("all.zip/x/a.csv", "csv")]
    assert len(found("all.zip/x")) == 2
    assert "no such file" in failure("all.zip/absent.csv")


def test_archive_is_known_by_its_bytes_and_a_workbook_is_none(folder):
    pack(folder / "a.csv", {"rows.tsv": CSV})
    assert found("a.csv") == [("a.csv/rows.tsv", "csv")]
    pack(folder / "b.zip", {"[Content_Types].xml": b"x", "xl/workbook.xml": b"x"})
    assert found("b.zip") == [("b.zip", "excel")]
    pack(folder / "c.ods", {"mimetype": b"application/vnd.oasis.opendocument.spreadsheet", "content.xml": b"x"})
    assert found("c.ods") == [("c.ods", "excel")]


def test_archive_without_a_table_lists_what_it_holds(folder):
    pack(folder / "a.zip", {"one.jpg": b"?", "two.jpg": b"?"})
    message = failure("a.zip")
    assert "no data file in this archive (found one.jpg, two.jpg)" in message
    assert "'a.zip/MEMBER'" in message
    pack(folder / "b.zip", {"u.item": CSV})
    assert found("b.zip") == [("b.zip/u.item", "csv")]
    inner = (folder / "b.zip").read_bytes()
    pack(folder / "c.zip", {"b.zip": inner})
    assert "an archive inside an archive; unpack it" in failure("c.zip")


def test_archive_beside_its_content_is_not_read_twice(folder):
    write(folder / "set/a.csv")
    pack(folder / "set/all.zip", {"a.csv": CSV})
    assert "holds data files (set/a.csv) and archives (set/all.zip)" in failure("set")
    assert found("set/*.zip") == [("set/all.zip/a.csv", "csv")]


def test_partitions_of_members_come_from_their_path(folder):
    pack(folder / "year=2024/all.zip", {"month=05/a.csv": CSV})
    (source,) = find("year=2024/all.zip")
    assert source.partitions == {"year": "2024", "month": "05"}


def test_link_that_leads_nowhere_is_an_error(folder):
    write(folder / "e/a.csv")
    (folder / "e/b.csv").symlink_to(folder / "gone.csv")
    assert "b.csv: is a link to" in failure("e")


def test_folders_that_contain_themselves_are_entered_once(folder):
    write(folder / "e/day=1/x.csv")
    for name in ("a", "b", "c"):
        (folder / "e/day=1" / name).symlink_to(folder / "e")
    assert found("e") == found("e/**") == found("**/*.csv") == [("e/day=1/x.csv", "csv")]


def test_an_empty_archive_has_no_data(tmp_path):
    zipfile.ZipFile(tmp_path / "a.zip", "w").close()
    with pytest.raises(DataError, match=r"no data file in this archive \(found nothing\)"):
        find_sources("items", RawFiles(path=str(tmp_path / "a.zip")))

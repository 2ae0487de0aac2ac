"""One module knows the layout of a home, and only `storage` reads tables by path; a home may have any name."""

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest
from miniature import LAST_DAY, NOW, RUN_DATE, Trained, change, copy_home, read_files
from worlds import make_interactions, make_items

import recsys
from recsys.artifacts.recommendations import publish, read_pointer
from recsys.artifacts.snapshots import open_snapshot, read_snapshot, write_snapshot
from recsys.storage import home as layout
from recsys.tables import Rejected, empty

ROOT = Path(recsys.__file__).parent
# Raw data may be given as a pattern; these modules read nothing that recsys wrote.
RAW_DATA = {"dataset/user_items.py", "dataset/raw/parquet_rows.py"}
NAMES = ["team [prod]", "a*", "a?b", "a#b", "100%", "a%41", "{x}", "a b 家"]


def parse_modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(ROOT.rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith("storage/"):
            yield name, ast.parse(path.read_text(encoding="utf-8"))


def starts_at_home(node: ast.expr) -> bool:
    """Return whether an expression is `home`, `x.home` or `home()`, or joins something to it."""
    match node:
        case ast.BinOp(op=ast.Div()):
            return starts_at_home(node.left)
        case ast.Call(func=function):
            return starts_at_home(function)
        case ast.Name():
            return node.id == "home"
        case ast.Attribute():
            return node.attr == "home"
    return False


def joins_home(node: ast.AST) -> bool:
    match node:
        case ast.BinOp(op=ast.Div()):
            return starts_at_home(node.left)
        case ast.Call(func=ast.Attribute(value=path, attr="joinpath" | "glob" | "rglob")):
            return starts_at_home(path)
    return False


def reads_by_path(node: ast.AST) -> bool:
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Name(id="pl" | "polars"), attr=name)):
            return name.startswith(("read_", "scan_"))
    return False


def test_only_storage_joins_a_home_with_a_name() -> None:
    joins = [
        f"{name}:{node.lineno}" for name, module in parse_modules() for node in ast.walk(module) if joins_home(node)
    ]
    assert joins == [], "give the path a function in recsys/storage/home.py"


def test_only_storage_reads_tables_by_path() -> None:
    reads = [
        f"{name}:{node.lineno}"
        for name, module in parse_modules()
        for node in ast.walk(module)
        if name not in RAW_DATA and reads_by_path(node)
    ]
    assert reads == [], "polars takes a path for a pattern; use recsys/storage/files.py"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ('home / "runs"', True),
        ('self.home / "runs" / name', True),
        ('config.home() / "runs"', True),
        ('home.joinpath("runs")', True),
        ('home.glob("*")', True),
        ('run_folder(home, name) / "lists.parquet"', False),
        ('folder / "runs"', False),
    ],
)
def test_the_check_recognises_a_join(code: str, expected: bool) -> None:
    assert any(joins_home(node) for node in ast.walk(ast.parse(code))) == expected


@pytest.mark.parametrize(
    ("code", "expected"),
    [("pl.read_parquet(path)", True), ("pl.scan_csv(path)", True), ("read_parquet(path)", False), ("pl.lit(1)", False)],
)
def test_the_check_recognises_a_read(code: str, expected: bool) -> None:
    assert any(reads_by_path(node) for node in ast.walk(ast.parse(code))) == expected


def test_every_path_is_below_the_home_and_no_two_are_the_same() -> None:
    functions = [
        function
        for name, function in inspect.getmembers(layout, inspect.isfunction)
        if function.__module__ == layout.__name__ and not name.startswith(("_", "all_"))
    ]
    home = Path("/team [prod]")
    paths = [function(home, *["x"] * (len(inspect.signature(function).parameters) - 1)) for function in functions]
    assert len(paths) > 20
    assert len(set(paths)) == len(paths)
    assert all(home in path.parents for path in paths)


def test_list_and_shard_folders_are_told_apart(tmp_path: Path) -> None:
    assert layout.all_list_folders(tmp_path) == layout.all_shards_folders(tmp_path) == {}
    for day in ("2025-01-02", "2025-01-01"):
        layout.list_folder(tmp_path, day).mkdir(parents=True)
    layout.shards_folder(tmp_path, "2025-01-03").mkdir()
    layout.pointer_file(tmp_path).touch()
    (layout.recommendations_folder(tmp_path) / ".run_date=2025-01-04.0123.tmp").mkdir()
    assert list(layout.all_list_folders(tmp_path)) == ["2025-01-01", "2025-01-02"]
    assert layout.all_shards_folders(tmp_path) == {"2025-01-03": layout.shards_folder(tmp_path, "2025-01-03")}


@pytest.mark.parametrize("name", NAMES)
def test_snapshots_and_lists_of_a_home_with_any_name(name: str, tmp_path: Path) -> None:
    home = tmp_path / name
    tables = {"items": make_items("a"), "interactions": make_interactions(("u", "a", 0)), "rejected": empty(Rejected)}
    identity = write_snapshot(home, "books", tables, {})
    assert read_snapshot(home, "books", {}).id == identity
    assert open_snapshot(home, "books", {}).interactions.collect().equals(tables["interactions"])
    assert publish(home, "books", "2025-01-01", lambda folder: {}, {})
    assert read_pointer(home) == "2025-01-01"
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", NAMES)
def test_the_default_store_of_a_home_with_any_name(name: str, trained: Trained, tmp_path: Path) -> None:
    from recsys.registry.tracking import connect

    (tmp_path / name).mkdir()
    store = copy_store(trained.home, tmp_path / name)
    assert connect(tmp_path / name, trained.config).client.search_registered_models()[0].name == "recsys"
    assert store.is_file()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def copy_store(source: Path, target: Path) -> Path:
    store = layout.mlflow_database(target)
    store.write_bytes(layout.mlflow_database(source).read_bytes())
    return store


def test_a_night_in_a_home_whose_name_is_a_pattern(trained: Trained, trained_copy: Path, tmp_path: Path) -> None:
    from recsys.pipelines.doctor import examine
    from recsys.pipelines.generate import generate

    home = copy_home(trained.home, tmp_path / "team [prod] a?*#100%{x}")
    # The neighbour that the name matches as a pattern must not be read.
    (tmp_path / "team p ab").mkdir()
    config = change(trained.config, generation={"outputs": ["jsonl", "csv"], "rules": {"shown_penalty": 0.1}})
    expected = read_files(generate(config, trained_copy, LAST_DAY, NOW).folder)
    made = generate(config, home, LAST_DAY, NOW)
    assert read_files(made.folder) == expected
    assert read_pointer(home) == LAST_DAY != RUN_DATE
    states = {finding.name: finding.state for finding in examine(config, home)}
    assert [states[name] for name in ("home", "snapshot", "registry", "lists")] == ["ok"] * 4

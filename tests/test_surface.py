"""`import recsys`: cheap, complete, typed and documented, and its functions do what they say on a trained home."""

import ast
import inspect
import os
import re
import subprocess
import sys
import typing
from datetime import timedelta
from pathlib import Path

import pandas as pd
import polars as pl
import pytest
import yaml
from miniature import RUN_DATE, Trained

import recsys
from recsys import analysis, api, plots

ROOT = Path(__file__).parents[1]
HEAVY = (
    "torch",
    "transformers",
    "mlflow",
    "lightgbm",
    "implicit",
    "polars",
    "pandas",
    "numpy",
    "numba",
    "matplotlib",
    "pydantic",
)
PUBLIC = [name for name in recsys.__all__ if name not in ("analysis", "plots")]
FUNCTIONS = [name for name in PUBLIC if inspect.isfunction(getattr(recsys, name))]
CLASSES = [name for name in PUBLIC if inspect.isclass(getattr(recsys, name))]
NAMESPACES = {"analysis": analysis, "plots": plots}


def run_python(code: str, environment: dict[str, str] | None = None) -> str:
    """Run code in a fresh interpreter and return what it printed."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, cwd=ROOT)
    return done.stdout.strip()


class TestImport:
    def test_loads_no_heavy_library(self) -> None:
        code = f"import sys, recsys; print([name for name in {HEAVY} if name in sys.modules])"
        assert run_python(code) == "[]"

    def test_error_classes_load_no_heavy_library(self) -> None:
        code = f"import sys; from recsys import Refused; print([name for name in {HEAVY} if name in sys.modules])"
        assert run_python(code) == "[]"

    def test_reading_tables_loads_neither_torch_nor_mlflow(self) -> None:
        code = (
            "import sys, recsys; from recsys import analysis; recsys.open_run, recsys.evaluate, recsys.read_lists; "
            "print([name for name in ('torch', 'transformers', 'mlflow', 'lightgbm') if name in sys.modules])"
        )
        assert run_python(code) == "[]"

    def test_loads_names_and_namespaces_on_first_use(self) -> None:
        code = "import recsys; print(recsys.load_config.__name__, recsys.plots.__name__, recsys.analysis.__name__)"
        assert run_python(code) == "load_config recsys.plots recsys.analysis"

    def test_unknown_name_is_an_attribute_error(self) -> None:
        with pytest.raises(AttributeError, match="module 'recsys' has no attribute 'predict'"):
            getattr(recsys, "predict")  # noqa: B009 - mypy knows that it is missing

    def test_star_import_gives_exactly_the_public_names(self) -> None:
        code = "from recsys import *; print(sorted(name for name in dir() if not name.startswith('_')))"
        assert run_python(code) == str(sorted(recsys.__all__))

    @pytest.mark.parametrize(
        ("given", "spins"),
        [({}, "1000"), ({"GOMP_SPINCOUNT": "5"}, "5"), ({"OMP_WAIT_POLICY": "active"}, None)],
        ids=["nothing set", "a count", "a policy"],
    )
    def test_waiting_threads_leave_the_processor_to_other_programs(
        self, given: dict[str, str], spins: str | None
    ) -> None:
        clean = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
        code = "import os, recsys; print(os.environ.get('GOMP_SPINCOUNT'))"
        assert run_python(code, clean | given) == str(spins)


class TestNames:
    def test_are_sorted_and_unique(self) -> None:
        assert recsys.__all__ == sorted(set(recsys.__all__))
        assert set(recsys.__all__) <= set(dir(recsys))

    def test_type_checkers_see_the_names_that_python_sees(self) -> None:
        tree = ast.parse((ROOT / "recsys" / "__init__.py").read_text("utf-8"))
        guarded = next(node for node in tree.body if isinstance(node, ast.If))
        imported = {alias.name for node in guarded.body if isinstance(node, ast.ImportFrom) for alias in node.names}
        assert imported == set(recsys.__all__)

    @pytest.mark.parametrize("name", FUNCTIONS)
    def test_functions_are_typed_and_documented(self, name: str) -> None:
        function = getattr(recsys, name)
        documentation = inspect.getdoc(function) or ""
        parameters = inspect.signature(function).parameters
        classes = {kind: getattr(recsys, kind) for kind in CLASSES}
        hints = typing.get_type_hints(function, {**vars(api), **classes, "pd": pd})
        assert set(hints) == {*parameters, "return"}
        arguments = documentation.split("Args:")[1].split("Returns:")[0]
        assert re.findall(r"^    (\w+):", arguments, re.MULTILINE) == list(parameters)

    @pytest.mark.parametrize("name", CLASSES)
    def test_classes_are_documented(self, name: str) -> None:
        assert (getattr(recsys, name).__doc__ or "").strip()

    @pytest.mark.parametrize("name", PUBLIC)
    def test_names_are_in_the_api_page(self, name: str) -> None:
        page = (ROOT / "docs" / "reference" / "api.md").read_text("utf-8")
        assert re.search(rf"^### `{name}`|^\| `{name}` \|", page, re.MULTILINE), f"docs/reference/api.md lacks {name}"

    @pytest.mark.parametrize("name", FUNCTIONS)
    def test_functions_have_an_example_in_the_api_page(self, name: str) -> None:
        page = (ROOT / "docs" / "reference" / "api.md").read_text("utf-8")
        section = page.split(f"### `{name}`")[1].split("\n### ")[0]
        example = section.split("```python")[1].split("```")[0]
        assert f"recsys.{name}(" in example


@pytest.mark.parametrize("name", NAMESPACES)
class TestNamespaces:
    def test_names_exist_and_are_documented(self, name: str) -> None:
        namespace = NAMESPACES[name]
        assert len(namespace.__all__) == len(set(namespace.__all__))
        for member in (getattr(namespace, public) for public in namespace.__all__):
            assert not callable(member) or (member.__doc__ or "").strip()

    def test_notebooks_use_every_name_and_no_other(self, name: str) -> None:
        used = {
            alias.name
            for path in (ROOT / "notebooks").glob("*.py")
            for node in ast.walk(ast.parse(path.read_text("utf-8").replace("# %matplotlib", "#")))
            if isinstance(node, ast.ImportFrom) and node.module == f"recsys.{name}"
            for alias in node.names
        }
        assert used == set(NAMESPACES[name].__all__)


@pytest.fixture
def config_file(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The miniature's settings as a file, and its home in the environment."""
    path = tmp_path / "mini.yaml"
    path.write_text(yaml.safe_dump(trained.config.resolved()), encoding="utf-8")
    monkeypatch.setenv("RECSYS_HOME", str(trained.home))
    return path


class TestReading:
    def test_home_comes_from_the_environment_or_the_argument(self, config_file: Path, trained: Trained) -> None:
        by_environment = recsys.open_run(config_file)
        by_argument = recsys.open_run(str(config_file), home=str(trained.home))
        assert by_environment.name == by_argument.name == recsys.open_run(trained.config, home=trained.home).name

    def test_missing_home_is_named(self, trained: Trained, tmp_path: Path) -> None:
        with pytest.raises(recsys.ArtifactError, match=r"nowhere.*run 'recsys train'"):
            recsys.open_run(trained.config, home=tmp_path / "nowhere")
        with pytest.raises(recsys.ArtifactError, match=r"nowhere: none are published; run 'recsys generate' first"):
            recsys.read_lists(home=tmp_path / "nowhere")

    def test_evaluate_gives_every_model_at_the_list_length(self, config_file: Path, trained: Trained) -> None:
        table = recsys.evaluate(config_file)
        assert table["n"].unique().to_list() == [trained.config.evaluation.n]
        assert {"ours", "blend", "popular"} <= set(table["model"])

    def test_snapshot_and_rejected_rows(self, config_file: Path) -> None:
        snapshot = recsys.open_snapshot(config_file)
        assert snapshot.items.height
        assert recsys.open_snapshot(config_file, snapshot=snapshot.id).interactions.equals(snapshot.interactions)
        assert "rule" in recsys.read_rejected(config_file).columns

    def test_lists_of_the_pointer_and_of_a_run_date(self, config_file: Path) -> None:
        lists = recsys.read_lists()
        assert lists.columns[:4] == ["user_id", "rank", "item_id", "score"]
        assert recsys.read_lists(RUN_DATE).equals(lists)

    def test_comparing_a_version_with_itself_says_so(self, config_file: Path) -> None:
        comparison = recsys.compare(config_file)
        assert comparison.same
        assert recsys.promote(config_file).version == "1"


class TestRecommend:
    def test_pandas_and_polars_give_the_same_lists(self, config_file: Path) -> None:
        bundle = recsys.open_bundle(config_file)
        items = bundle.items["item_id"].head(3).to_list()
        rows = {"user_id": ["u", "u", "v"], "item_id": items}
        lists = recsys.recommend(bundle, pl.DataFrame(rows))
        assert lists.columns == ["user_id", "rank", "item_id", "score"]
        assert lists["user_id"].unique(maintain_order=True).to_list() == ["u", "v"]
        assert recsys.recommend(bundle, pd.DataFrame(rows)).equals(lists)
        numbered = pd.DataFrame({"user_id": pd.array([1, 1, 2]), "item_id": items})
        assert recsys.recommend(bundle, numbered)["item_id"].equals(lists["item_id"])

    def test_times_and_event_kinds_reach_the_model(self, config_file: Path) -> None:
        bundle = recsys.open_bundle(config_file)
        assert bundle.cutoff is not None
        times = [bundle.cutoff - timedelta(days=days) for days in (9, 2)]
        rows = {"user_id": ["u", "u"], "item_id": bundle.items["item_id"].head(2).to_list(), "time": times}
        lists = recsys.recommend(bundle, pl.DataFrame(rows))
        assert recsys.recommend(bundle, pd.DataFrame(rows)).equals(lists)
        with pytest.raises(recsys.DataError, match="2 interactions are not before"):
            recsys.recommend(bundle, pl.DataFrame({**rows, "time": [bundle.cutoff] * 2}))
        with pytest.raises(recsys.DataError, match="unknown event kind 'glance'"):
            recsys.recommend(bundle, pl.DataFrame({**rows, "event": ["glance"] * 2}))

    def test_lists_hold_no_item_of_the_history(self, config_file: Path) -> None:
        bundle = recsys.open_bundle(config_file, evaluation_model=True)
        history = pl.DataFrame({"user_id": ["u"] * 5, "item_id": bundle.items["item_id"].head(5)})
        assert not set(recsys.recommend(bundle, history)["item_id"]) & set(history["item_id"])

    @pytest.mark.parametrize(
        ("histories", "message"),
        [
            ([("u", "i")], "histories: found list; pass a polars or pandas frame with the columns user_id and item_id"),
            (pl.DataFrame({"user": ["u"], "item_id": ["i"]}), "histories: no column user_id; found user, item_id"),
            (pd.DataFrame(), "histories: no column user_id and item_id; found none"),
            (
                pl.DataFrame({"user_id": ["u", "u"], "item_id": ["i", None]}),
                "histories: 1 of 2 rows have no item_id (first: row 1",
            ),
            (pd.DataFrame({"user_id": [None], "item_id": ["i"]}), "histories: 1 of 1 rows have no user_id"),
        ],
    )
    def test_bad_histories_are_named(self, histories: object, message: str) -> None:
        unused = typing.cast(recsys.Bundle, None)
        with pytest.raises(recsys.DataError, match=re.escape(message)):
            recsys.recommend(unused, typing.cast(pl.DataFrame, histories))


def test_the_whole_cycle(config_file: Path, trained_copy: Path, raw_in_place: Path) -> None:
    ingested = recsys.ingest(config_file, home=trained_copy)
    assert ingested.items.height == recsys.open_snapshot(config_file, home=trained_copy).items.height
    made = recsys.generate(config_file, run_date=RUN_DATE, home=trained_copy)
    assert made.run_date == RUN_DATE
    assert [one.run_date for one in recsys.generate_range(config_file, RUN_DATE, RUN_DATE, home=trained_copy)] == [
        RUN_DATE
    ]
    with pytest.raises(recsys.RegistryError, match="before version 1"):
        recsys.rollback(config_file, home=trained_copy)

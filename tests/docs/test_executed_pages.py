"""Every command and every Python block of README and docs/ is executed.

A page runs as a reader would run it: in its order, in one shell, in a folder with the files that it speaks of. It fails
at the first command that fails. tests/deploy executes the pages about deployment and backups.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from lists_of_two import make_config, make_shop, write_history
from miniature import LAST_DAY, RUN_DATE, Trained, copy_home, merge, settings
from pages import ROOT, read_blocks, run_script, split_commands
from second_version import register_second

from recsys.artifacts.snapshots import read_snapshot

# A page calls commands one after the other, and some train; a busy machine is no finding.
pytestmark = pytest.mark.timeout(900)

# (page, command) -> why it is not executed here.
LEFT_OUT = {
    ("README.md", "make recommend"): "docs/tutorial/first-hour.md runs it",
    ("README.md", "make test"): "it runs these tests",
    ("README.md", ".venv/bin/mlflow ui"): "a server, which does not return; docs/deploy/team.md starts one",
    ("README.md", ".venv/bin/recsys run"): "docs/tutorial/own-data.md runs it",
    ("docs/tutorial/first-hour.md", ".venv/bin/mlflow ui"): "a server, which does not return",
    ("docs/how-to/airflow.md", "airflow backfill create"): "needs a scheduler; tests/airflow/test_scheduler.py runs it",
    ("docs/how-to/data.md", "recsys run"): "docs/tutorial/own-data.md runs it",
    ("docs/how-to/install.md", "pip install"): "needs a package index; tests/packaging installs a wheel",
    ("docs/reference/cli.md", "recsys "): "usage lines, not commands; test_command_lines.py checks the examples",
    ("docs/reference/configuration.md", "torchrun"): "trains in two processes; tests/text/test_fine_tuning.py does so",
    ("docs/reference/metrics.md", "pip install"): "needs a package index",
    ("docs/explanation/scale.md", "python tests/benchmarks/gpu.py"): "needs a GPU",
    (
        "docs/explanation/scale.md",
        "torchrun",
    ): "needs two machines; tests/text/test_fine_tuning.py stands in for it",
    ("docs/explanation/servers.md", "mlflow ui"): "a server, which does not return",
    ("docs/results.md", "RECSYS_DATA=/path/to/data/sets python"): "needs data sets",
    ("docs/results.md", "python tests/benchmarks/peers.py --install"): "needs a package index",
    ("docs/reference/metrics.md", "RECSYS_DATA=/path/to/datasets python"): "needs data sets and other libraries",
}
ELSEWHERE = {"docs/how-to/backups.md": "tests/deploy/test_backup_drill.py"}
# tests/deploy/test_pages.py executes these.
DEPLOYMENT = "docs/deploy/"
PYTHON_LEFT_OUT = {("README.md", "recsys.compare("): "docs/reference/api.md runs it"}
DATES = {"2025-03-01": RUN_DATE, "2025-02-25": LAST_DAY, "2025-03-02": LAST_DAY, "2025-03-08": "2025-02-11"}
QUICK = ("threads", "text", "candidates", "ranking", "evaluation")


@dataclass
class Desk:
    """Where a page is run, and what it finds there."""

    folder: Path
    raw: Path
    trained: Trained
    values: dict[str, str] = field(default_factory=dict)
    replaced: dict[str, str] = field(default_factory=dict)
    # The beginning of a command -> what the test does after it.
    afterwards: dict[str, str] = field(default_factory=dict)
    # The beginning of a command -> its exit code, where the page says so.
    codes: dict[str, int] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        """The default of RECSYS_HOME."""
        return self.folder / "data" / "home"

    def write_config(self, file: str, /, **sections: Any) -> None:
        """Write the miniature's settings, with other sections, under the name of file that a page uses."""
        path = self.folder / file
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump({**settings(), **sections}, allow_unicode=True), "utf-8")

    def write_quick(self, file: str, config: Mapping[str, Any]) -> None:
        """Write a config with the miniature's settings for quick training."""
        quick = {key: value for key, value in settings().items() if key in QUICK}
        self.write_config(file, **merge(config, quick))

    def place_home(self) -> None:
        """Put a copy of the trained home where commands look for it."""
        self.home.parent.mkdir(parents=True)
        copy_home(self.trained.home, self.home)
        self.values["RECSYS_DATA"] = str(self.raw)

    def link(self, *names: str) -> None:
        """Link files of the project into the folder."""
        for name in names:
            (self.folder / name).parent.mkdir(exist_ok=True, parents=True)
            (self.folder / name).symlink_to(ROOT / name)

    def write_shop(self, orders: Mapping[str, str], products: Mapping[str, str], name: str) -> None:
        """Write the demo as orders.csv and a file of products; the mappings give columns their names."""
        events = pl.read_csv(self.raw / "interactions.csv.gz").with_columns(pl.col("timestamp").str.slice(0, 16))
        events = events.with_columns(pl.col("timestamp").str.replace("T", " "))
        events.select(pl.col(old).alias(new) for old, new in orders.items()).write_csv(self.folder / "orders.csv")
        items = pl.read_ndjson((self.raw / "items.jsonl.gz").read_bytes())
        table = items.select(pl.col(old).alias(new) for old, new in products.items())
        path = self.folder / name
        (table.write_ndjson if path.suffix == ".jsonl" else table.write_csv)(path)


def read_headers(page: str) -> list[str]:
    """Return the first lines of the tables that a page shows."""
    return [block.text.split("\n")[0] for block in read_blocks(page, {"text"})]


def prepare_readme(desk: Desk) -> None:
    orders = {"user_id": "customer", "item_id": "sku", "timestamp": "happened_at", "event": "kind"}
    products = {"id": "sku", "title": "name", "description": "long_text", "tags": "categories", "author": "brand"}
    desk.write_shop(orders, products, "products.jsonl")
    results = desk.folder / "results"
    copy_home(desk.trained.home, results)
    desk.write_config("quick.yaml")
    desk.afterwards[".venv/bin/recsys init"] = "mv shop.yaml proposed.yaml; mv quick.yaml shop.yaml"
    desk.replaced = {
        "/path/to/raw/files": shlex.quote(str(desk.raw)),
        "RECSYS_HOME=/path/to/results": f"RECSYS_HOME={shlex.quote(str(results))}",
        "/path/to/results": str(results),
        "models:/shop@champion": "models:/recsys@champion",
    }


def check_readme(desk: Desk, printed: str) -> None:
    shown = yaml.safe_load(read_blocks("README.md", {"yaml"})[0].text)["dataset"]
    proposed = yaml.safe_load((desk.folder / "proposed.yaml").read_text("utf-8"))["dataset"]
    for table in ("items", "interactions"):
        assert {key: proposed[table][key] for key in ("path", "columns")} == {
            key: shown[table][key] for key in ("path", "columns")
        }
    assert "no problem found" in printed


def prepare_first_hour(desk: Desk) -> None:
    desk.link("Makefile", "pyproject.toml", "constraints.txt", "recsys")
    desk.write_quick("configs/demo.yaml", yaml.safe_load((ROOT / "configs" / "demo.yaml").read_text("utf-8")))
    # What `make` would install is there already.
    (desk.folder / ".venv" / ".installed-core").touch()
    desk.values["DEMO"] = "--users 150 --items 120 --days 40 --seed 0"


def prepare_own_data(desk: Desk) -> None:
    products, orders = (header.split(",") for header in read_headers("docs/tutorial/own-data.md"))
    desk.write_shop(
        dict(zip(("user_id", "item_id", "timestamp", "event"), orders, strict=True)),
        dict(zip(("id", "title", "category", "description"), products, strict=True)),
        "products.csv",
    )
    quick = {key: value for key, value in settings().items() if key in QUICK}
    (desk.folder / "quick.yaml").write_text(yaml.safe_dump(quick), "utf-8")
    # The config that `init` wrote, with settings that train in seconds.
    desk.afterwards["recsys init"] = f"PYTHONPATH={shlex.quote(str(ROOT / 'tests'))}:$PYTHONPATH python - <<'END'\n" + (
        "import yaml\n"
        "from miniature import merge\n"
        "files = [yaml.safe_load(open(name, encoding='utf-8')) for name in ('shop.yaml', 'quick.yaml')]\n"
        "yaml.safe_dump(merge(*files), open('shop.yaml', 'w', encoding='utf-8'), allow_unicode=True)\n"
        "END"
    )


def check_own_data(desk: Desk, printed: str) -> None:
    assert len(list(desk.home.glob("recommendations/run_date=*"))) == 1
    assert "no problem found" in printed


def prepare_ab(desk: Desk) -> None:
    config = make_config()
    desk.write_config("configs/demo.yaml")
    desk.home.mkdir(parents=True)
    events = make_shop(desk.home, config, users=400, nights=6, effect=0.5, share=0.5, seed=3)
    events.write_csv(desk.folder / "new_events.csv")
    # Without a file, outcomes are those of the newest snapshot.
    old = read_snapshot(desk.home, config.name, config.dataset.model_dump(mode="json")).interactions
    time = pl.col("timestamp").str.to_datetime(time_unit="us", time_zone="UTC").cast(old.schema["time"])
    new = events.select(
        "user_id", "item_id", "event", time=time, weight=pl.lit(1.0), positive=pl.lit(True), consumed=pl.lit(True)
    )
    both = pl.concat([old, new.cast({"weight": old.schema["weight"]})], how="diagonal").sort("user_id", "time")
    step = pl.int_range(pl.len()).over("user_id").cast(old.schema["step"])
    write_history(desk.home, config, both.with_columns(step=step).select(old.columns))
    revenue = events.group_by("user_id", maintain_order=True).len("value")
    revenue.write_csv(desk.folder / "revenue.csv")
    desk.values["RECSYS_DATA"] = str(desk.raw)
    desk.replaced = {"2025-03-28": "2025-03-06"}


def prepare_data(desk: Desk) -> None:
    orders = {"user_id": "customer", "item_id": "sku", "timestamp": "ordered at", "event": "kind"}
    desk.write_shop(orders, {"id": "sku"}, "products.csv")
    titles = pl.read_ndjson((desk.raw / "items.jsonl.gz").read_bytes()).select(sku="id", product="title")
    both = pl.read_csv(desk.folder / "orders.csv").join(titles, on="sku", maintain_order="left")
    both.write_csv(desk.folder / "orders.csv")
    (desk.folder / "products.csv").unlink()


def prepare_encoder(desk: Desk) -> None:
    desk.place_home()
    desk.write_config("configs/demo.yaml")
    (desk.folder / "titles.tsv").write_text("1\tA crew lost in space\n2\tThe quiet garden\n", "utf-8")


def check_encoder(desk: Desk, printed: str) -> None:
    vectors = [line.split("\t") for line in (desk.folder / "vectors.tsv").read_text("utf-8").splitlines()]
    assert [len(vector) for vector in vectors] == [384, 384]


def prepare_vectors(desk: Desk) -> None:
    desk.place_home()
    desk.write_config("configs/demo.yaml")


def check_vectors(desk: Desk, printed: str) -> None:
    vectors = pl.read_parquet(desk.folder / "vectors.parquet")
    assert vectors.schema == {"item_id": pl.String, "vector": pl.List(pl.Float32)}


def prepare_shop(desk: Desk) -> None:
    desk.place_home()
    desk.write_config("shop.yaml")


def prepare_operations(desk: Desk) -> None:
    desk.place_home()
    desk.write_config("configs/demo.yaml")
    register_second(desk.home, desk.trained)
    desk.replaced = DATES


def prepare_privacy(desk: Desk) -> None:
    desk.place_home()
    dataset = settings()["dataset"]
    desk.write_config("configs/shop.yaml", dataset={**dataset, "pseudonyms": True})
    (desk.folder / "leavers.csv").write_text("user_id\nu0000002\n", "utf-8")
    (desk.folder / "private").mkdir()
    desk.replaced = {"~/private": "private", "u0000913": "u0000001"}
    desk.afterwards["export RECSYS_PSEUDONYM_KEY"] = "recsys ingest --config configs/shop.yaml"


def prepare_tune(desk: Desk) -> None:
    desk.place_home()
    desk.write_config("configs/demo.yaml")
    desk.link("configs/spaces/demo.yaml")
    desk.replaced = {"--trials 30": "--trials 1"}


def prepare_retrain(desk: Desk) -> None:
    desk.place_home()
    desk.write_config("configs/demo.yaml")


def check_retrain(desk: Desk, printed: str) -> None:
    assert "recsys version 2, continued from version 1, is the challenger" in " ".join(printed.split())


def prepare_api(desk: Desk) -> None:
    desk.place_home()
    desk.write_config("configs/demo.yaml")
    desk.replaced = DATES


def prepare_monitoring(desk: Desk) -> None:
    desk.place_home()
    desk.write_config("configs/demo.yaml")
    desk.replaced = {"2025-03-02": RUN_DATE}


def prepare_retention(desk: Desk) -> None:
    desk.place_home()
    desk.write_config("configs/demo.yaml")


def prepare_promotion(desk: Desk) -> None:
    desk.place_home()
    desk.write_config("shop.yaml")
    register_second(desk.home, desk.trained)
    desk.replaced = {
        "https://staging.example.org": f"sqlite:///{desk.home}/mlflow.db",
        "https://production.example.org": f"sqlite:///{desk.folder}/production.db",
        "--version 3": "--version 1",
    }
    # The second version ranks as the first one does, so the gate cannot tell.
    refused = "recsys promote --config shop.yaml  "
    desk.codes = {f"{refused.strip()} --dry-run": 3, refused: 3}


def prepare_nothing(desk: Desk) -> None:
    """Leave the folder empty."""


def check_nothing(desk: Desk, printed: str) -> None:
    """Only what the commands say themselves."""


Prepare, Check = Callable[[Desk], None], Callable[[Desk, str], None]
PAGES: dict[str, tuple[Prepare, Check]] = {
    "README.md": (prepare_readme, check_readme),
    "docs/tutorial/first-hour.md": (prepare_first_hour, check_nothing),
    "docs/tutorial/own-data.md": (prepare_own_data, check_own_data),
    "docs/explanation/monitoring.md": (prepare_monitoring, check_nothing),
    "docs/explanation/promotion.md": (prepare_promotion, check_nothing),
    "docs/explanation/retention.md": (prepare_retention, check_nothing),
    "docs/how-to/ab.md": (prepare_ab, check_nothing),
    "docs/how-to/data.md": (prepare_data, check_nothing),
    "docs/how-to/encoder.md": (prepare_encoder, check_encoder),
    "docs/how-to/incident.md": (prepare_shop, check_nothing),
    "docs/how-to/operations.md": (prepare_operations, check_nothing),
    "docs/how-to/privacy.md": (prepare_privacy, check_nothing),
    "docs/how-to/retrain.md": (prepare_retrain, check_retrain),
    "docs/how-to/tune.md": (prepare_tune, check_nothing),
    "docs/how-to/vectors.md": (prepare_vectors, check_vectors),
    "docs/reference/api.md": (prepare_api, check_nothing),
    "docs/reference/commands.md": (prepare_nothing, check_nothing),
}


def is_left_out(page: str, command: str) -> bool:
    return any(page == where and command.startswith(start) for where, start in LEFT_OUT)


def list_pages() -> list[str]:
    pages = [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md"))]
    return ["README.md", *(page for page in pages if not page.startswith(DEPLOYMENT))]


def list_commands(page: str) -> list[str]:
    return [command for block in read_blocks(page) if not block.reason for command in split_commands(block)]


def list_python(page: str) -> list[str]:
    blocks = [block.text for block in read_blocks(page, {"python"})]
    return [text for text in blocks if not any(page == where and word in text for where, word in PYTHON_LEFT_OUT)]


def write_script(page: str, desk: Desk) -> str:
    """Return the commands of a page as a script that names each one before it, and its Python after them."""
    parts = ["set -euo pipefail"]
    for command in list_commands(page):
        if is_left_out(page, command):
            continue
        after = next((text for start, text in desk.afterwards.items() if command.startswith(start)), "")
        code = next((code for start, code in desk.codes.items() if command.startswith(start)), 0)
        for old, new in desk.replaced.items():
            command = command.replace(old, new)
        parts += [f"printf '\\n== %s\\n' {shlex.quote(command)} >&2"]
        parts += [f"code=0; {{ {command}\n}} || code=$?; [ $code -eq {code} ]" if code else command, after]
    if python := "\n".join(list_python(page)):
        for old, new in desk.replaced.items():
            python = python.replace(old, new)
        (desk.folder / "page.py").write_text(python, "utf-8")
        parts += ["echo '== Python' >&2", "python page.py"]
    return "\n".join(parts)


def test_every_page_with_commands_is_executed() -> None:
    wanted = {page for page in list_pages() if any(not is_left_out(page, command) for command in list_commands(page))}
    wanted |= {page for page in list_pages() if list_python(page)}
    assert wanted == PAGES.keys() | ELSEWHERE.keys()
    assert all((ROOT / test).exists() for test in ELSEWHERE.values())


def test_what_is_left_out_is_still_there() -> None:
    stale = [
        (page, start)
        for page, start in LEFT_OUT
        if not any(command.startswith(start) for command in list_commands(page))
    ]
    stale += [
        (page, word)
        for page, word in PYTHON_LEFT_OUT
        if not any(word in block.text for block in read_blocks(page, {"python"}))
    ]
    assert not stale, f"no such commands any more: {stale}"
    assert all(len(reason.split()) >= 3 for reason in [*LEFT_OUT.values(), *PYTHON_LEFT_OUT.values()])


@pytest.mark.parametrize("page", list_pages())
def test_commands_are_marked_as_commands(page: str) -> None:
    """Blocks without a language or of plain text are not executed, so they may hold no commands."""
    plain = "\n".join(block.text for block in read_blocks(page, {"", "text"}))
    assert not re.findall(r"^(?:\$ |(?:recsys|pip|make|export|python) ).*", plain, re.MULTILINE)


@pytest.fixture
def desk(trained: Trained, raw: Path, tmp_path: Path) -> Desk:
    folder = tmp_path / "checkout"
    (folder / ".venv").mkdir(parents=True)
    (folder / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    user = tmp_path / "user"
    user.mkdir()
    return Desk(folder, raw, trained, {"HOME": str(user)})


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_works(page: str, desk: Desk) -> None:
    prepare, check = PAGES[page]
    prepare(desk)
    check(desk, run_script(page, write_script(page, desk), desk.values, desk.folder, 800))


def test_a_command_that_fails_is_named(desk: Desk) -> None:
    script = (
        "set -euo pipefail\nprintf '\\n== %s\\n' 'recsys lists --config no.yaml' >&2\nrecsys lists --config no.yaml"
    )
    with pytest.raises(AssertionError, match=r"exit code 2[\s\S]*== recsys lists --config no\.yaml\n.*no\.yaml"):
        run_script("a.md", script, desk.values, desk.folder, 100)

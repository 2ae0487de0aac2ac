"""Nights whose lists are also published to an S3-compatible server: failures, reruns, rollbacks, moved pointers."""

import json
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree

import polars as pl
import pytest
from faulty_servers import object_store
from miniature import LAST_DAY, NOW, RUN_DATE, Trained, change, copy_home, read_lists
from pyarrow import fs
from second_version import forget_nights, register_second

from recsys.config import Config
from recsys.errors import ArtifactError, ConfigError
from recsys.pipelines import generate as generate_module
from recsys.pipelines.generate import NightOptions, generate
from recsys.pipelines.night_inputs import hash_list_settings
from recsys.pipelines.published import list_published, move_pointer
from recsys.pipelines.rollback import rollback
from recsys.registry.promotion_log import PromotionLog
from recsys.registry.tracking import connect
from recsys.registry.versions import set_champion

DAY = "2025-02-05"
PLACE = "s3://shop/lists"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with object_store() as address:
        yield address


@pytest.fixture(autouse=True)
def files(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> fs.S3FileSystem:
    """An empty store."""
    variables = {"ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": "very secret", "REGION": "us-east-1"}
    for name, value in {**variables, "ENDPOINT_URL": endpoint, "EC2_METADATA_DISABLED": "true"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    options = {"endpoint_override": endpoint.removeprefix("http://"), "scheme": "http", "region": "us-east-1"}
    files = fs.S3FileSystem(**options, allow_bucket_creation=True)
    files.create_dir("shop")
    files.delete_dir_contents("shop")
    return files


@pytest.fixture(scope="module")
def base(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = copy_home(trained.home, tmp_path_factory.mktemp("elsewhere") / "home")
    register_second(home, trained)
    yield home
    rmtree(home)


@pytest.fixture
def home(base: Path) -> Path:
    forget_nights(base, RUN_DATE)
    return base


@pytest.fixture
def config(trained: Trained) -> Config:
    return change(trained.config, generation={"publish_to": PLACE})


def read(endpoint: str) -> tuple[str, pl.DataFrame]:
    """Return the run date and the lists that readers of the store see, as polars reads them."""
    options = {"aws_access_key_id": "key", "aws_secret_access_key": "very secret", "aws_region": "us-east-1"}
    options |= {"aws_endpoint_url": endpoint, "aws_allow_http": "true"}
    raw = fs.S3FileSystem(endpoint_override=endpoint.removeprefix("http://"), scheme="http", region="us-east-1")
    folder = raw.open_input_file("shop/lists/CURRENT").read().decode().strip()
    manifest = json.loads(raw.open_input_file(f"shop/lists/{folder}/manifest.json").read())
    lists = pl.read_parquet(f"{PLACE}/{folder}/part-*.parquet", storage_options=options, hive_partitioning=False)
    assert lists.height == manifest["counts"]["rows"]
    return manifest["run_date"], lists


def forbid_lists(patch: pytest.MonkeyPatch) -> None:
    def fail(*given: object) -> None:
        raise AssertionError("lists were made again")

    patch.setattr(generate_module, "_make_lists", fail)


def test_after_a_failure_the_next_run_publishes_without_making_lists(
    home: Path, config: Config, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        with pytest.raises(ArtifactError, match=r"s3://shop/lists/CURRENT: .* then run again") as caught:
            generate(config, home, DAY, NOW)
        assert "very secret" not in str(caught.value)
        # Readers of the home already see the night; `recsys lists` says what it could not reach.
        shown = list_published(config, home, NOW)
        assert shown.readers == DAY
        assert "s3://shop/lists/CURRENT: " in str(shown.store)
    forbid_lists(monkeypatch)
    generate(config, home, DAY, NOW)
    run_date, lists = read(endpoint)
    assert run_date == DAY
    assert lists.equals(read_lists(home, DAY))
    shown = list_published(config, home, NOW)
    assert shown.store == f"store {PLACE}: {DAY}"
    assert shown.nights[0].followers == ("readers", f"store {PLACE}")


def test_the_store_follows_a_moved_pointer_and_a_kept_one(home: Path, config: Config, endpoint: str) -> None:
    generate(config, home, DAY, NOW)
    generate(config, home, LAST_DAY, NOW, NightOptions(keep_pointer=True))
    assert read(endpoint)[0] == DAY
    # That night was never written there.
    move_pointer(config, home, LAST_DAY, NOW)
    assert read(endpoint)[0] == LAST_DAY
    move_pointer(config, home, DAY, NOW)
    assert read(endpoint)[1].equals(read_lists(home, DAY))


def test_a_rollback_brings_back_the_lists_of_the_earlier_version(
    home: Path, config: Config, trained: Trained, endpoint: str
) -> None:
    generate(config, home, DAY, NOW)
    first = read(endpoint)[1]
    store = connect(home, trained.config)
    log = PromotionLog.open(store, home, "recsys")
    entry = log.append("force", to_version="2", reason="test")
    set_champion(store, "recsys", "2")
    log.confirm(entry)
    generate(config, home, DAY, NOW)
    assert set(read(endpoint)[1]["model_version"]) == {"2"}
    assert rollback(config, home, "1").republished
    assert read(endpoint)[1].equals(first)


def test_where_lists_go_does_not_change_what_they_are(config: Config, trained: Trained) -> None:
    assert hash_list_settings(config) == hash_list_settings(trained.config)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (
            "lists",
            "is not a valid place to publish to; expected s3://bucket/prefix, gs://bucket/prefix, or an absolute",
        ),
        ("s3://", "is not a valid place to publish to"),
        ("az://container/lists", "is not a valid place to publish to"),
        ("/mnt/../etc", "is not a valid place to publish to"),
        ("s3://key:hunter22@shop/lists", "contains credentials or parameters; set them in the environment"),
        ("s3://shop/lists?access_key=hunter22", "contains credentials or parameters"),
    ],
)
def test_addresses_that_are_refused(trained: Trained, address: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        change(trained.config, generation={"publish_to": address})
    assert "hunter22" not in str(caught.value)


def test_addresses_that_are_accepted(trained: Trained) -> None:
    for address in ("s3://shop", "gs://shop/a/b/", "/mnt/lists"):
        assert change(trained.config, generation={"publish_to": address}).generation.publish_to == address

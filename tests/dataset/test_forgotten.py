"""The list of forgotten users knows them without holding their ids."""

from pathlib import Path

import polars as pl
import pytest

from recsys.dataset.forgotten import ForgottenUsers
from recsys.errors import ArtifactError


def test_users_are_found_by_hash_alone(tmp_path: Path) -> None:
    path = tmp_path / "forgotten.json"
    ForgottenUsers.read(path).add(["user-one", "家"]).write(path)
    assert "user-one" not in path.read_text()
    again = ForgottenUsers.read(path)
    assert again.find(pl.Series(["user-one", None, "other", "家"])).tolist() == [True, False, False, True]
    assert again.add(["user-one"]) == again


def test_a_damaged_list_stops_ingest(tmp_path: Path) -> None:
    path = tmp_path / "forgotten.json"
    path.write_text("{}")
    with pytest.raises(ArtifactError, match="would come back"):
        ForgottenUsers.read(path)

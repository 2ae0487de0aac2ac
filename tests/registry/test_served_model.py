"""What MLflow's own loader and scoring server answer: lists, or one clear sentence."""

import json
from typing import Any

import mlflow
import pandas as pd
import pytest
from miniature import Trained
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.scoring_server import invocations

from recsys.registry.tracking import connect
from recsys.registry.versions import CHAMPION, need_version

ANONYMOUS = "anonymous"


@pytest.fixture(scope="module")
def model(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Any:
    store = connect(trained.home, trained.config)
    version = need_version(store, trained.config.model_name, CHAMPION, "")
    place = store.client.get_model_version_download_uri(version.name, version.number)
    return mlflow.pyfunc.load_model(place, dst_path=str(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def fallback(model: Any) -> list[str]:
    found = model.predict(pd.DataFrame({"user_id": ["nobody"], "item_id": ["no such item"]}))
    assert found["rank"].tolist() == list(range(1, 11))
    return list(found["item_id"])


@pytest.mark.parametrize(
    "rows",
    [
        pd.DataFrame(),
        pd.DataFrame({"user_id": [], "item_id": []}, dtype=object),
        pd.DataFrame({"user_id": [None], "item_id": [None]}, dtype=object),
        pd.DataFrame({"user_id": [""], "item_id": [""]}),
        pd.DataFrame({"item_id": ["no such item"]}),
        [],
    ],
    ids=["nothing", "no rows", "None", "empty", "no user", "empty list"],
)
def test_without_a_user_the_answer_is_the_fallback_list(rows: Any, model: Any, fallback: list[str]) -> None:
    found = model.predict(rows)
    assert found["user_id"].unique().tolist() == [ANONYMOUS]
    assert found["item_id"].tolist() == fallback


def test_users_without_a_history_get_the_fallback_list(model: Any, fallback: list[str]) -> None:
    found = model.predict(pd.DataFrame({"user_id": ["a", "b"]}))
    for user in ("a", "b"):
        assert found.loc[found["user_id"] == user, "item_id"].tolist() == fallback
    # Beside a user with one, whose list is the same as without them.
    known = fallback[0]
    mixed = pd.DataFrame({"user_id": ["a", "b"], "item_id": [None, known], "event": [None, "view"]}, dtype=object)
    alone = model.predict(mixed[1:])
    found = model.predict(mixed)
    assert found.loc[found["user_id"] == "a", "item_id"].tolist() == fallback
    assert found.loc[found["user_id"] == "b", "item_id"].tolist() == alone["item_id"].tolist()


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (pd.DataFrame({"user_id": [1.5]}), "Failed to enforce schema"),
        (None, "Expected input to be DataFrame. Found: NoneType"),
        (
            pd.DataFrame({"user_id": ["a"], "item_id": ["x"], "event": ["jump"]}),
            "unknown event kind 'jump'; expected one of click, comment, like, purchase, share, view",
        ),
        (
            pd.DataFrame({"user_id": ["a"], "item_id": ["x"], "time": [pd.Timestamp("2030-01-01")]}),
            "1 interaction is not before",
        ),
    ],
)
def test_anything_else_is_one_clear_error(rows: Any, expected: str, model: Any) -> None:
    with pytest.raises(MlflowException, match=expected) as caught:
        model.predict(rows)
    assert caught.value.get_http_status_code() == 400


def ask(model: Any, content: object) -> tuple[int, Any]:
    """Ask as `mlflow models serve` does."""
    try:
        reply = invocations(json.dumps(content), "application/json", model, model.metadata.get_input_schema())
    except MlflowException as error:
        return error.get_http_status_code(), json.loads(error.serialize_as_json())
    return reply.status, json.loads(reply.response)


def test_the_scoring_server(model: Any, fallback: list[str]) -> None:
    status, answer = ask(model, {"dataframe_records": [{"user_id": "a"}, {"user_id": "b", "item_id": None}]})
    assert status == 200
    assert [row["item_id"] for row in answer["predictions"]] == fallback * 2
    status, answer = ask(model, {"dataframe_records": []})
    assert status == 200
    assert {row["user_id"] for row in answer["predictions"]} == {ANONYMOUS}
    status, answer = ask(model, {"dataframe_records": [{"user_id": "a", "item_id": "x", "event": "jump"}]})
    assert status == 400
    assert "unknown event kind 'jump'" in answer["message"]
    assert "Traceback" not in json.dumps(answer)
    status, answer = ask(model, {"dataframe_records": [{"user_id": ["a list"]}]})
    assert status == 400
    assert "stack_trace" not in answer

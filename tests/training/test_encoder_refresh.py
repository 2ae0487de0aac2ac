"""The encoder of an earlier training stays, or learns a few steps from what is new before the oldest label window."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from miniature import LAST_DAY, Trained, change

from recsys.config import Config
from recsys.dataset.windows import Fold
from recsys.pipelines import train as train_module
from recsys.registry.tracking import connect
from recsys.registry.versions import CHAMPION, EVALUATION_MODEL, need_version, open_bundle
from recsys.serving.bundle import Bundle
from recsys.text.encoder import Encoder
from recsys.training import encoder_refresh
from recsys.training.encoder_refresh import is_refreshed
from recsys.training.text_models import TextModels, continue_text


@pytest.fixture(scope="module")
def earlier(trained: Trained) -> Bundle:
    store = connect(trained.home, trained.config)
    champion = need_version(store, "recsys", CHAMPION, "")
    with open_bundle(store, champion, EVALUATION_MODEL) as folder:
        bundle = Bundle.load(folder)
    # Whichever encoder the trial chose, it counts as fine-tuned here.
    return replace(bundle, config=change(bundle.config, text={"fine_tune": {"untouched_share": 0.0}}))


@pytest.fixture(scope="module")
def today(trained: Trained) -> tuple[pl.DataFrame, Fold]:
    snapshot, windows = train_module._read(trained.config, trained.home, LAST_DAY)
    return snapshot.items, windows.measurement_fold


@pytest.fixture(scope="module")
def config(trained: Trained) -> Config:
    return change(trained.config, continuation={"encoder_steps": 2, "encoder_learning_rate": 1e-3})


def go_on(config: Config, today: tuple[pl.DataFrame, Fold], earlier: Bundle) -> TextModels:
    return continue_text(config, *today, earlier)


def test_by_default_no_known_text_is_encoded(
    trained: Trained, today: tuple[pl.DataFrame, Fold], earlier: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[str] = []
    encode = Encoder.encode

    def watch(encoder: Encoder, texts: list[str], *arguments: Any) -> Any:
        encoded.extend(texts)
        return encode(encoder, texts, *arguments)

    monkeypatch.setattr(Encoder, "encode", watch)
    items, fold = today
    text = continue_text(trained.config, items, fold, earlier)
    assert encoded == []
    assert text.encoder is earlier.encoder
    assert text.embeddings.tobytes() == earlier.embeddings.tobytes()
    renamed = items.with_columns(title=pl.when(pl.int_range(pl.len()) == 3).then(pl.lit("New")).otherwise("title"))
    changed = continue_text(trained.config, renamed, fold, earlier)
    assert len(encoded) == 1
    assert encoded[0].startswith("New")
    differing = (changed.embeddings != earlier.embeddings).any(axis=1)
    assert np.flatnonzero(differing).tolist() == [3]


def test_configured_steps_change_encoder_and_embeddings(
    config: Config, today: tuple[pl.DataFrame, Fold], earlier: Bundle
) -> None:
    before = earlier.encoder.digest()
    text = go_on(config, today, earlier)
    assert len(text.curves["fine_tuning_loss"]) == 2
    assert text.encoder.digest() != before
    # The earlier bundle may serve meanwhile.
    assert earlier.encoder.digest() == before
    assert np.allclose(np.linalg.norm(text.embeddings, axis=1), 1.0, atol=1e-5)
    texts = text.item_texts.texts.to_list()
    assert np.allclose(text.encoder.encode(texts), text.embeddings, atol=2e-3)
    assert not np.allclose(text.embeddings, earlier.embeddings, atol=2e-3)


def test_the_same_steps_twice(config: Config, today: tuple[pl.DataFrame, Fold], earlier: Bundle) -> None:
    one, other = (go_on(config, today, earlier) for _ in range(2))
    assert one.encoder.digest() == other.encoder.digest()
    assert one.embeddings.tobytes() == other.embeddings.tobytes()


def test_it_learns_from_nothing_in_a_label_window(
    config: Config, today: tuple[pl.DataFrame, Fold], earlier: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    honest = encoder_refresh.fine_tune

    def watch(encoder: Any, data: Any, *arguments: Any) -> Any:
        seen.append(data)
        return honest(encoder, data, *arguments)

    monkeypatch.setattr(encoder_refresh, "fine_tune", watch)
    go_on(config, today, earlier)
    (data,) = seen
    oldest = today[1].labels[-1].cutoff
    assert oldest is not None
    assert earlier.start is not None
    assert data.histories.cutoff == oldest
    assert timedelta(days=data.new_days) == oldest - earlier.start.cutoff


def test_nothing_new_since_then_leaves_the_encoder(
    config: Config, today: tuple[pl.DataFrame, Fold], earlier: Bundle
) -> None:
    oldest = today[1].labels[-1].cutoff
    assert earlier.start is not None
    assert oldest is not None
    same = replace(earlier, start=replace(earlier.start, cutoff=oldest))
    text = go_on(config, today, same)
    assert text.curves["fine_tuning_loss"] == []
    assert text.encoder.digest() == earlier.encoder.digest()


@pytest.mark.parametrize(
    "text",
    [
        {"fine_tune": {"epochs": 0}},
        {"fine_tune": {"untouched_share": 1.0}},
        {"distillation": {"layers": 2}},
    ],
)
def test_an_encoder_that_was_not_fine_tuned_stays(text: dict[str, Any], config: Config, earlier: Bundle) -> None:
    assert is_refreshed(config, earlier)
    assert not is_refreshed(change(config, text=text), replace(earlier, config=change(earlier.config, text=text)))
    assert not is_refreshed(change(config, continuation={"encoder_steps": 0}), earlier)

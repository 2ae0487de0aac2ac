import ast
import copy
import os
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from worlds import checkerboard, make_interactions, make_items

from recsys.config import FineTuneConfig, TextConfig
from recsys.dataset.histories import Histories, build_histories
from recsys.text.encoder import Encoder
from recsys.text.training.data import FineTuningData
from recsys.text.training.fine_tuning import FineTuned, Runtime, count_steps, fine_tune
from recsys.text.training.layer_inputs import (
    FrozenStates,
    encode_inputs,
    find_token_fields,
    freeze_states,
    tokenize_texts,
)

# Unrelated words: only the users' interactions show which belong together.
WORDS = ["anchor", "violin", "cactus", "ladder", "pepper", "glacier", "button", "rocket", "candle", "turtle"]
WORDS += ["ribbon", "hammer", "mirror", "pigeon", "velvet", "canyon", "teapot", "marble", "lantern", "walnut"]
CONFIG = FineTuneConfig(
    epochs=8,
    draw="items",
    objectives={"next_item": 1.0, "co_interaction": 0.0},
    negatives="catalogue",
    log_q=True,
    batch_size=10,
    learning_rate=1e-3,
    head_learning_rate=1e-4,
    checkpoint_steps=3,
)


def make_histories(*rows: tuple[object, ...], ordered: bool = True) -> Histories:
    items = make_items(*sorted({str(row[1]) for row in rows}))
    return build_histories(make_interactions(*rows, ordered=ordered), items, None)


@pytest.fixture(scope="module")
def histories() -> Histories:
    items, interactions = checkerboard(users=40, items=20)
    return build_histories(interactions, items, None)


@pytest.fixture(scope="module")
def frozen(encoder) -> FrozenStates:
    return freeze_states(encoder, WORDS, 1)


@pytest.fixture
def tiny(write_checkpoint) -> Encoder:
    """An encoder with two layers, without dropout."""
    return Encoder(
        str(write_checkpoint(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)),
        TextConfig(precision="float32"),
    )


LETTERS = [
    "a b",
    "b c d",
    "c",
    "d e f g",
    "e a",
    "f h",
    "g",
    "h a b c",
    "a c",
    "b d",
    "c e",
    "d f",
    "e g",
    "f a",
    "g b",
]
LETTERS += ["h c", "a d e", "b e", "c f", "d g"]


def contrast(vectors: np.ndarray) -> float:
    """Mean cosine inside a colour minus mean cosine across."""
    similar = vectors @ vectors.T
    same = np.arange(20)[:, None] % 2 == np.arange(20)[None, :] % 2
    return float(similar[same & ~np.eye(20, dtype=bool)].mean() - similar[~same].mean())


def learn(
    encoder: Encoder,
    histories: Histories,
    config: FineTuneConfig = CONFIG,
    texts: list[str] = WORDS,
    factors: np.ndarray | None = None,
) -> FineTuned:
    full = config.method == "full"
    inputs = tokenize_texts(encoder, texts) if full else freeze_states(encoder, texts, config.trainable_layers)
    return fine_tune(encoder, FineTuningData(inputs, histories, factors), config, 7)


def test_vectors_that_are_known_before_are_not_computed_again(tiny: Encoder, histories: Histories) -> None:
    inputs = freeze_states(tiny, WORDS, 1)
    before = encode_inputs(tiny, inputs)
    computed = fine_tune(copy.deepcopy(tiny), FineTuningData(inputs, histories), CONFIG, 7)
    given = fine_tune(copy.deepcopy(tiny), FineTuningData(inputs, histories, vectors=before), CONFIG, 7)
    assert given.losses == computed.losses
    assert given.embeddings.tobytes() == computed.embeddings.tobytes()
    # They are where it starts: without training nothing else is returned, and training changes them.
    untrained = CONFIG.model_copy(update={"epochs": 0})
    marked = np.roll(before, 1, axis=0)
    kept = fine_tune(tiny, FineTuningData(inputs, histories, vectors=marked), untrained, 7).embeddings
    assert kept.tobytes() == marked.tobytes()
    assert given.embeddings.tobytes() != before.tobytes()


# --- inputs of the trainable layers ----------------------------------------------------------------------


@pytest.mark.parametrize("trainable", [1, 2, 6, 99])
def test_frozen_states_and_the_top_layers_give_the_vectors_of_encode(encoder, trainable):
    texts = ["A crew drifts between stars", "", "bread", "长夜 🎬", "bread flour " * 9]
    done: list[int] = []
    frozen = freeze_states(encoder, texts, trainable, done.append)
    assert sum(done) == len(texts)
    np.testing.assert_allclose(encode_inputs(encoder, frozen), encoder.encode(texts), atol=1e-5)
    assert frozen.trainable_layers == min(trainable, 6)


def test_tokens_give_the_vectors_of_encode(encoder):
    texts = ["A crew drifts between stars", "", "bread"]
    np.testing.assert_allclose(encode_inputs(encoder, tokenize_texts(encoder, texts)), encoder.encode(texts), atol=1e-5)


def test_bfloat16_states_take_half_the_memory_and_are_close(encoder):
    half = copy.copy(encoder)
    half._config = TextConfig(precision="bfloat16")
    frozen = freeze_states(half, WORDS, 1)
    assert frozen.states.dtype == torch.bfloat16
    vectors = encode_inputs(half, frozen)
    assert (vectors * half.encode(WORDS)).sum(1).min() > 0.9995
    assert (vectors * encoder.encode(WORDS)).sum(1).min() > 0.998


def test_each_token_has_the_field_it_comes_from(encoder):
    texts = ["bread. flour. butter", "bread", "a\0b. c"]
    parts = [["bread", "flour", "butter"], ["bread", "", ""], ["a\0b", "c", ""]]
    fields = find_token_fields(encoder, texts, parts)
    assert fields[0].tolist() == [-1, 0, 0, 1, 1, 2, -1]
    assert fields[1].tolist() == [-1, 0, -1]
    assert [len(text_fields) for text_fields in fields] == np.diff(tokenize_texts(encoder, texts).starts).tolist()


# --- learning --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tuned(encoder, frozen, histories) -> tuple[Encoder, FineTuned, list[int]]:
    ours, examples = copy.deepcopy(encoder), list[int]()
    result = fine_tune(
        ours,
        FineTuningData(frozen, histories),
        CONFIG,
        7,
        Runtime(progress=lambda count, _: examples.append(count)),
    )
    return ours, result, examples


def test_words_of_the_same_users_become_similar(encoder, tuned):
    ours, result, _ = tuned
    assert abs(contrast(encoder.encode(WORDS))) < 0.02
    assert contrast(ours.encode(WORDS)) > 0.15
    assert np.mean(result.losses[-4:]) < 0.7 * np.mean(result.losses[:4])


def test_the_embeddings_are_those_of_the_tuned_encoder(tuned):
    ours, result, _ = tuned
    np.testing.assert_allclose(result.embeddings, ours.encode(WORDS), atol=1e-5)


def test_the_number_of_steps_matches_the_count(tuned, histories):
    _, result, examples = tuned
    # 20 items in batches of 10, 8 epochs; at most 8 examples of each item.
    assert count_steps(histories, CONFIG, 7) == len(result.losses) == len(examples) == 16
    assert all(0 < count <= 80 for count in examples)


def test_only_the_last_layers_learn(encoder, tuned):
    before, after = encoder.model.state_dict(), tuned[0].model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if name.startswith("encoder.layer.5.")}
    assert not any(module.training for module in tuned[0].model.modules())


def test_same_seed_same_weights_and_the_callers_random_state_is_kept(encoder, frozen, histories, tuned):
    again = copy.deepcopy(encoder)
    torch.manual_seed(123)
    expected = torch.rand(3)
    torch.manual_seed(123)
    result = fine_tune(again, FineTuningData(frozen, histories), CONFIG, 7)
    assert torch.equal(torch.rand(3), expected)
    assert result.losses == tuned[1].losses
    assert again.digest() == tuned[0].digest()


@pytest.mark.parametrize(
    "change",
    [
        {"objectives": {"next_item": 0, "co_interaction": 1}},
        {"objectives": {"co_interaction": 0, "cf_alignment": 1}},
        {"objectives": {"next_item": 1, "co_interaction": 0.5, "cf_alignment": 0.5}},
        {"objectives": {}, "draw": "interactions", "negatives": "batch", "log_q": False},
        {"draw": "interactions", "negatives": "batch", "hard_negatives": {"als": 2, "text": 2}},
        {"adversarial": 0.5},
        {"augmentation": {"token_dropout": 0.2, "span_crop": 0.5}},
        {"event_weights": True},
        {"method": "full", "learning_rate": 2e-4, "epochs": 20},
        {"method": "lora", "learning_rate": 2e-3},
        {"method": "adalora", "learning_rate": 2e-3},
        {"max_negatives": 12},
        {"accumulation": 3},
    ],
    ids=str,
)
def test_every_option_learns_and_leaves_plain_weights(encoder, histories, change):
    ours = copy.deepcopy(encoder)
    config = FineTuneConfig(**{**CONFIG.model_dump(), "learning_rate": 5e-4, "epochs": 10, **change})
    factors = np.random.default_rng(0).normal(scale=0.1, size=(20, 4)).astype(np.float32)
    factors[:, 0] += np.where(np.arange(20) % 2, -1, 1)
    factors[3] = np.nan
    result = learn(ours, histories, config, factors=factors)
    assert np.mean(result.losses[-4:]) < 0.9 * np.mean(result.losses[:4])
    assert set(ours.model.state_dict()) == set(encoder.model.state_dict())
    np.testing.assert_allclose(result.embeddings, ours.encode(WORDS), atol=1e-4)


def test_full_training_changes_the_word_vectors_too(tiny, histories):
    before = tiny.model.embeddings.word_embeddings.weight.clone()
    learn(tiny, histories, CONFIG.model_copy(update={"method": "full"}), texts=LETTERS)
    assert not torch.equal(before, tiny.model.embeddings.word_embeddings.weight)


def test_the_best_epoch_is_kept_and_training_stops_after_it(encoder, histories):
    ours = copy.deepcopy(encoder)
    more = {"validation_share": 0.8, "validation_n": 5, "epochs": 40, "patience": 2}
    result = learn(ours, histories, CONFIG.model_copy(update=more))
    best = int(np.argmax(result.recalls))
    assert 0 < best == len(result.recalls) - 3 < 38
    assert len(result.losses) == 2 * (len(result.recalls) - 1)
    np.testing.assert_allclose(result.embeddings, ours.encode(WORDS), atol=1e-5)


@pytest.mark.parametrize("ordered", [True, False])
def test_users_with_a_single_item_are_no_examples(encoder, ordered):
    lonely = make_histories(("u", "a"), ("v", "b"), ordered=ordered)
    before = encoder.digest()
    result = fine_tune(encoder, FineTuningData(freeze_states(encoder, ["a", "b"], 1), lonely), CONFIG, 0)
    assert (result.losses, count_steps(lonely, CONFIG, 0), encoder.digest()) == ([], 0, before)
    np.testing.assert_allclose(result.embeddings, encoder.encode(["a", "b"]), atol=1e-5)


def test_without_epochs_the_encoder_is_unchanged(encoder, frozen, histories):
    config = CONFIG.model_copy(update={"epochs": 0})
    before = encoder.digest()
    assert fine_tune(encoder, FineTuningData(frozen, histories), config, 0).losses == []
    assert encoder.digest() == before


# --- killed and resumed ----------------------------------------------------------------------------------

_SCRIPT = """
    import os, signal, sys
    sys.path[:0] = {paths!r}
    import torch
    torch.set_num_threads(1)
    from pathlib import Path
    from test_fine_tuning import CONFIG, LETTERS, Encoder, TextConfig
    from test_fine_tuning import FineTuningData, Runtime, build_histories, checkerboard, fine_tune, freeze_states
    from recsys.config import FineTuneConfig
    from recsys.text.training.checkpoints import TrainingCheckpoint
    items, interactions = checkerboard(users=40, items=20)
    histories = build_histories(interactions, items, None)
    config = FineTuneConfig.model_validate_json({config!r})
    for folder, kill_at in {runs!r}:
        encoder = Encoder({checkpoint!r}, TextConfig(precision="float32"))
        frozen = freeze_states(encoder, LETTERS, 2)
        steps = []
        def progress(examples, loss):
            steps.append(examples)
            if len(steps) == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
        runtime = Runtime(TrainingCheckpoint(Path(folder), "key"), progress=progress)
        result = fine_tune(encoder, FineTuningData(frozen, histories), config, 7, runtime)
        print(encoder.digest(), result.losses, result.recalls, sum(count > 0 for count in steps), flush=True)
"""


def run_trainings(
    checkpoint: Path, config: FineTuneConfig, runs: list[tuple[Path, int]]
) -> subprocess.CompletedProcess[str]:
    """Train once for each (folder of the checkpoints, step that kills the process, or 0)."""
    script = textwrap.dedent(_SCRIPT).format(
        paths=[str(Path(__file__).parent), str(Path(__file__).parents[1])],
        config=config.model_dump_json(),
        checkpoint=str(checkpoint),
        runs=[(str(folder), kill_at) for folder, kill_at in runs],
    )
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=os.environ, check=False)


# Three trainings in processes of their own.
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("change", "kill_at"),
    [({}, 8), ({"method": "adalora", "accumulation": 2, "validation_share": 0.3, "patience": 99}, 11)],
    ids=["layers", "adalora, accumulated, validated"],
)
def test_a_killed_training_resumes_to_the_same_weights(write_checkpoint, tmp_path, change, kill_at):
    # With dropout, whose random numbers must be reproduced too.
    checkpoint = write_checkpoint()
    config = FineTuneConfig(**{**CONFIG.model_dump(), "trainable_layers": 2, "checkpoint_steps": 1, **change})
    killed = run_trainings(checkpoint, config, [(tmp_path / "whole", 0), (tmp_path / "killed", kill_at)])
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    resumed = run_trainings(checkpoint, config, [(tmp_path / "killed", 0)])
    assert resumed.returncode == 0, resumed.stderr
    # The one line of the killed process is that of its first training.
    (whole,), (rest,) = killed.stdout.splitlines(), resumed.stdout.splitlines()
    *expected, every = whole.rsplit(" ", 1)
    *result, only = rest.rsplit(" ", 1)
    assert result == expected
    assert 0 < int(only) <= int(every) - kill_at + 2
    assert not list((tmp_path / "killed").glob("*.safetensors"))


# --- several processes -----------------------------------------------------------------------------------

_TOGETHER = """
import sys
sys.path[:0] = {paths!r}
import torch
torch.set_num_threads(1)
from pathlib import Path
from test_fine_tuning import LETTERS, Encoder, FineTuningData, Runtime, TextConfig
from test_fine_tuning import build_histories, checkerboard, fine_tune, freeze_states
from recsys.config import FineTuneConfig
from recsys.text.training.processes import join_processes
processes = join_processes(60)
items, interactions = checkerboard(users=40, items=20)
histories = build_histories(interactions, items, None)
config = FineTuneConfig.model_validate_json({config!r})
encoder = Encoder({checkpoint!r}, TextConfig(precision="float32"))
frozen = freeze_states(encoder, LETTERS, 2)
result = fine_tune(encoder, FineTuningData(frozen, histories), config, 7, Runtime(processes=processes))
Path({folder!r}, str(processes.rank)).write_text(repr((encoder.digest(), result.losses)))
processes.close()
"""


@pytest.mark.parametrize("machines", [1, 2])
def test_two_processes_have_the_loss_curve_of_one(write_checkpoint, tmp_path, histories, machines):
    # Without dropout, which differs between shares. Batches of 7 items give uneven shares.
    checkpoint = write_checkpoint(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    more = {"batch_size": 7, "negatives": "batch", "draw": "interactions", "epochs": 1, "trainable_layers": 2}
    config = FineTuneConfig(**{**CONFIG.model_dump(), **more, "accumulation": 2})
    script = tmp_path / "together.py"
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    settings = {"paths": paths, "config": config.model_dump_json(), "checkpoint": str(checkpoint)}
    script.write_text(_TOGETHER.format(**settings, folder=str(tmp_path)))
    torchrun = [sys.executable, "-m", "torch.distributed.run"]
    launchers = [[*torchrun, "--standalone", "--nproc-per-node", "2"]]
    if machines == 2:
        # Each machine has a launcher of its own; these two meet on the loopback interface.
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            place = ["--master-addr", "127.0.0.1", "--master-port", str(listener.getsockname()[1])]
        launchers = [
            [*torchrun, "--nnodes", "2", "--node-rank", node, *place, "--nproc-per-node", "1"] for node in ("0", "1")
        ]
    started = [
        subprocess.Popen([*launcher, str(script)], stderr=subprocess.PIPE, text=True, env=os.environ)
        for launcher in launchers
    ]
    for launcher in started:
        errors = launcher.communicate(timeout=120)[1]
        assert launcher.returncode == 0, errors
    first, second = (ast.literal_eval((tmp_path / str(rank)).read_text()) for rank in range(2))
    assert first == second
    alone = learn(Encoder(str(checkpoint), TextConfig(precision="float32")), histories, config, texts=LETTERS)
    assert len(alone.losses) > 20
    np.testing.assert_allclose(first[1], alone.losses, atol=1e-4)

"""What a GPU does for recsys, in one go: fine-tuning, embedding, the night, and whether the lists stay the same.

    python tests/benchmarks/gpu.py                 # on a machine with a CUDA GPU; about ten minutes
    python tests/benchmarks/gpu.py --small         # a few seconds, also without a GPU: tries the script
    python tests/benchmarks/gpu.py --lists configs/ifdb.yaml --set text.checkpoint=FOLDER_OF_BERT_BASE --seeds 0 1 2

Nothing is downloaded: a BERT of the shape of bert-base-uncased with random weights costs as much as a trained one, and
the night's catalogue is generated. It prints

1. the device, its peak in bfloat16 by its data sheet (`--peak-tflops` for a device that is not in the table), and what
   one large matrix product reaches;
2. tokens per second of full fine-tuning, and the share of the peak: 6 operations per weight and token, and 12 per
   layer, token and pair of positions for attention, without word vectors and without what is computed twice;
3. texts per second of embedding, and the share of the peak (a third of those operations);
4. users per second of a night on the device and on the CPU;
5. how the lists of both differ: the share of users with identical lists, and the largest difference of an item's score.

With `--lists` it prints instead what training all layers adds to the final lists of a config, by `encoder_recipes.py`:
the encoder frozen, fully fine-tuned for one and for three epochs of the config's steps, and the mean of both encoders.

It ends with 1 if the lists differ more than `--min-identical` and `--max-difference` allow. Without a GPU the second
list is made on the CPU too, from products that are rounded differently (float64, then float32).
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import polars as pl
import torch
import yaml
from numpy.typing import NDArray

from recsys.candidates import products
from recsys.config import Config, FineTuneConfig, TextConfig, load_config, parse_config
from recsys.config.overrides import apply_settings
from recsys.dataset.demo import write_demo
from recsys.dataset.histories import Histories, build_histories
from recsys.dataset.ingestion import ingest
from recsys.dataset.windows import resolve_end, split_windows
from recsys.serving.batch_recommender import BatchRecommender
from recsys.serving.bundle import Bundle
from recsys.tables import Interactions
from recsys.text.device import pick_device
from recsys.text.encoder import Encoder
from recsys.text.training.data import FineTuningData
from recsys.text.training.fine_tuning import Runtime, fine_tune
from recsys.text.training.layer_inputs import tokenize_texts
from recsys.training.encoder_inputs import prepare_encoder_inputs
from recsys.training.fitting import fit_bundle

# Dense bfloat16 products with float32 sums, in 10^12 operations per second, by a part of the device's name; the first
# that fits counts. From the makers' data sheets, without sparsity.
PEAKS = {
    "B200": 2250.0,
    "GH200": 989.0,
    "H200": 989.0,
    "H100 PCIe": 756.0,
    "H100 NVL": 835.0,
    "H100": 989.0,
    "A100": 312.0,
    "L40S": 362.0,
    "L40": 181.0,
    "L4": 121.0,
    "A10": 125.0,
    "RTX 4090": 165.0,
    "RTX 3090": 71.0,
}


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        bert: settings of the BERT that are not those of bert-base-uncased.
        tokens: of each text.
        texts: that are embedded, and learned from.
        batch: texts in a step.
        steps: of fine-tuning.
        users: of the night.
        items: of the night.
        square: rows of the large matrices.
    """

    bert: dict[str, int]
    tokens: int
    texts: int
    batch: int
    steps: int
    users: int
    items: int
    square: int


FULL = Sizes({}, 128, 16_384, 256, 60, 20_000, 10_000, 8192)
_TINY = {
    "vocab_size": 500,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
SMALL = Sizes(_TINY, 16, 64, 16, 4, 60, 60, 128)
# Tokens in a batch that is only encoded.
_BATCH_TOKENS = 65_536
_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="try the script in seconds; the figures mean nothing")
    parser.add_argument("--peak-tflops", type=float, help="of the device in bfloat16, where the table lacks it")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--min-identical", type=float, default=0.99, help="share of users with identical lists")
    parser.add_argument("--max-difference", type=float, default=0.05, help="of the score of an item in both lists")
    parser.add_argument("--lists", type=Path, metavar="CONFIG", help="compare the final lists of this config instead")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of that config")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of these trainings")
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    torch.set_num_threads(given.threads)
    if given.lists:
        compare_lists(given.lists, given.set, given.seeds)
        return
    sizes = SMALL if given.small else FULL
    peak = describe_device(sizes, given.peak_tflops)
    with tempfile.TemporaryDirectory() as folder:
        measure_encoder(sizes, Path(folder) / "bert", peak)
        identical, difference = measure_night(sizes, given.threads, Path(folder))
    bound = f"at least {given.min_identical:.1%}, and at most {given.max_difference}"
    if identical < given.min_identical or difference > given.max_difference:
        sys.exit(f"lists differ more than allowed ({bound})")
    print(f"  within the bound ({bound})")


def _clock(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds that something takes on the device, and its result."""
    started = time.perf_counter()
    result = work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started, result


# --- the device ----------------------------------------------------------------------------------------------------


def describe_device(sizes: Sizes, given: float | None) -> float:
    """Print the device and return its peak in bfloat16, in operations per second."""
    device = pick_device()
    name = torch.cuda.get_device_name() if device.type == "cuda" else str(torch.cpu.get_capabilities()["cpu_name"])
    matrix = torch.randn(sizes.square, sizes.square, device=device, dtype=torch.bfloat16)
    _clock(lambda: matrix @ matrix)
    seconds = min(_clock(lambda: matrix @ matrix)[0] for _ in range(3))
    reached = 2 * sizes.square**3 / seconds / 1e12
    listed = given or next((peak for part, peak in PEAKS.items() if part in name), None)
    source = "given" if given else "by its data sheet" if listed else "not in the table, so that of the product below"
    peak = listed or reached
    print(f"device: {name} ({device.type}), torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"  peak in bfloat16 {peak:,.4g} TFLOP/s ({source})")
    print(f"  one product of {sizes.square:,} x {sizes.square:,}: {reached:,.4g} TFLOP/s, {reached / peak:.0%}")
    return peak * 1e12


# --- the encoder ---------------------------------------------------------------------------------------------------


def measure_encoder(sizes: Sizes, folder: Path, peak: float) -> None:
    """Print the speed of full fine-tuning and of embedding."""
    texts = write_bert(sizes, folder)
    settings = TextConfig(max_tokens=sizes.tokens, batch_tokens=_BATCH_TOKENS)
    encoder = Encoder(str(folder), settings)
    config = encoder.model.config
    weights = sum(weight.numel() for weight in encoder.layers.parameters())
    # Forward: two operations per weight, and two products of every position with every other.
    forward = 2 * weights + 4 * config.num_hidden_layers * sizes.tokens * config.hidden_size
    print(
        f"encoder: {config.num_hidden_layers} layers, {config.hidden_size} dimensions, {weights / 1e6:.1f} M weights "
        f"in the layers, texts of {sizes.tokens} tokens, products in {encoder.precision}"
    )
    encoder.encode(texts[: sizes.batch])
    seconds, _ = _clock(lambda: encoder.encode(texts))
    share = forward * sizes.tokens * len(texts) / seconds / peak
    print(f"  embedding: {len(texts) / seconds:,.0f} texts/s, {share:.1%} of the peak, tokenizing included")
    rate = fine_tune_all(encoder, texts, sizes)
    print(f"  full fine-tuning: {rate:,.0f} tokens/s, {3 * forward * rate / peak:.1%} of the peak")


def write_bert(sizes: Sizes, folder: Path) -> list[str]:
    """Write a BERT with random weights, and return texts of its words that fill the token limit."""
    from transformers import BertConfig, BertModel, BertTokenizer
    from transformers.utils import logging as transformers_logging

    config = BertConfig(**sizes.bert)
    words = [_spell(number) for number in range(config.vocab_size - len(_SPECIAL))]
    torch.manual_seed(0)
    transformers_logging.disable_progress_bar()
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    BertTokenizer({word: number for number, word in enumerate([*_SPECIAL, *words])}).save_pretrained(folder)
    drawn = np.random.default_rng(0).integers(len(words), size=(sizes.texts, sizes.tokens))
    return [" ".join(words[number] for number in row) for row in drawn]


def _spell(number: int) -> str:
    return "".join(_LETTERS[number // len(_LETTERS) ** place % len(_LETTERS)] for place in range(4))


def fine_tune_all(encoder: Encoder, texts: list[str], sizes: Sizes) -> float:
    """Return the tokens per second of full fine-tuning, after its first steps."""
    rng = np.random.default_rng(0)
    # Every item is in somebody's history, after another one.
    pairs = np.stack([rng.permutation(len(texts)), rng.permutation(len(texts))], axis=1).ravel()
    ids = pl.Series("item_id", [f"i{number:06}" for number in range(len(texts))])
    given = pl.DataFrame({"user_id": np.repeat(np.arange(len(texts)), 2), "item_id": ids.gather(pairs)})
    defaults = {"step": 0, "time": None, "event": "view", "weight": 1.0, "value": None, "position": None}
    defaults |= {"positive": True, "consumed": True}
    known = given.with_columns(pl.col("user_id").cast(pl.String), **{name: pl.lit(v) for name, v in defaults.items()})
    interactions = known.select(pl.col(name).cast(column.dtype) for name, column in Interactions.columns().items())
    interactions = interactions.unique(["user_id", "item_id"], maintain_order=True)
    interactions = interactions.with_columns(step=pl.int_range(pl.len(), dtype=pl.UInt32).over("user_id"))
    interactions = interactions.sort("user_id", "step")
    histories = build_histories(interactions, pl.DataFrame({"item_id": ids}), None)
    config = FineTuneConfig(
        method="full", draw="items", batch_size=sizes.batch, max_steps_per_epoch=sizes.steps, checkpoint_steps=0
    )
    clock: list[float] = []
    runtime = Runtime(progress=lambda examples, loss: clock.append(time.perf_counter()))
    fine_tune(encoder, FineTuningData(tokenize_texts(encoder, texts), histories), config, 0, runtime)
    # The first steps choose kernels and fill the allocator.
    first = min(5, len(clock) // 2)
    return (len(clock) - 1 - first) * sizes.batch * sizes.tokens / (clock[-1] - clock[first])


def compare_lists(config: Path, settings: list[str], seeds: list[int]) -> None:
    """Print the final lists of a config with the encoder frozen, and with all of its layers fine-tuned."""
    from encoder_recipes import FROZEN, RECIPES, compare

    changes = {name: yaml.safe_load(value) for name, value in (one.split("=", 1) for one in settings)}
    # All layers move at once, so each moves less than the last one does alone.
    changes = {"text.fine_tune.method": "full", "text.fine_tune.learning_rate": 3e-5, **changes}
    wanted = (FROZEN, "fine-tuned", "half of the untouched weights", "three times as long")
    resolved = apply_settings(load_config(config), changes)
    for line in compare(resolved, {name: RECIPES[name] for name in wanted}, seeds, None):
        print(line)


# --- the night -----------------------------------------------------------------------------------------------------


def measure_night(sizes: Sizes, threads: int, folder: Path) -> tuple[float, float]:
    """Print users per second on the device and the CPU; return the share of identical lists and the largest gap."""
    config, items, users = fit_world(sizes, threads, folder)
    print(f"night: {users.n_users:,} users x {users.n_items:,} items, {threads} threads")
    device = pick_device().type
    second: Any = patch("torch.cuda.is_available", lambda: False)
    other = "cpu"
    if device == "cpu":
        second, other = patch.object(products, "multiply", multiply_exactly), "cpu, rounded differently"
    lists = run_night(config, folder / "bundle", items, users, device)
    with second:
        others = run_night(config, folder / "bundle", items, users, other)
    identical, difference = compare(lists, others)
    print(f"  identical lists: {identical:.2%} of the users; largest difference of a score: {difference:.2g}")
    return identical, difference


def fit_world(sizes: Sizes, threads: int, folder: Path) -> tuple[Config, pl.DataFrame, Histories]:
    """Write a catalogue and a bundle fitted on it; return the settings, the items and the users of the night."""
    write_demo(folder, users=sizes.users, items=sizes.items, days=40, seed=0)
    config = parse_config(make_settings(folder, threads), "gpu.py")
    found = ingest(config.dataset, now=datetime.now(UTC))
    end = resolve_end(found.interactions, None)
    windows = split_windows(found.interactions, config.windows, repeats=False, end=end, seed=0)
    fold = windows.measurement_fold
    inputs = prepare_encoder_inputs(config, found.items, fold.labels[-1].cutoff)
    fitted = fit_bundle(config, found.items, inputs, fold)
    (folder / "bundle").mkdir()
    fitted.bundle.save(folder / "bundle")
    return config, found.items, build_histories(windows.test.history, found.items, windows.test.cutoff)


def make_settings(folder: Path, threads: int) -> dict[str, Any]:
    """Return settings over the files of the demo, with a BERT of its own instead of a checkpoint."""
    return {
        "name": "gpu",
        "threads": threads,
        "dataset": {
            "items": {"path": str(folder / "items.jsonl.gz"), "columns": {"item_id": "id", "created_at": "created_at"}},
            "interactions": {
                "path": str(folder / "interactions.csv.gz"),
                "columns": {"time": "timestamp", "event": "event"},
                "event_weights": dict.fromkeys(("view", "click", "like", "comment", "share", "purchase"), 1.0),
            },
        },
        "windows": {"test_days": 7},
        "text": {"own_bert": {"layers": 2, "embedding_size": 64}, "fine_tune": {"max_steps_per_epoch": 20}},
        "ranking": {"max_trees": 100, "fixed_trees": 100},
    }


def run_night(config: Config, bundle: Path, items: pl.DataFrame, users: Histories, name: str) -> pl.DataFrame:
    """Print how long the lists of all users take, and return them."""
    loaded = Bundle.load(bundle)
    before, recommender = _clock(lambda: loaded.prepare(items, users))
    evidence = loaded.count_evidence(recommender, users)
    night = BatchRecommender(config, loaded, recommender, "1", evidence)
    night.recommend(users.select(slice(0, 256)))
    seconds, lists = _clock(lambda: night.recommend(users))
    print(f"  on {name}: {users.n_users / seconds:,.0f} users/s; {before:.1f} s to prepare")
    return lists


def multiply_exactly(users: NDArray[np.float32], items: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what `multiply` does, rounded once at the end."""
    return (users.astype(np.float64) @ items.astype(np.float64).T).astype(np.float32)


def compare(one: pl.DataFrame, other: pl.DataFrame) -> tuple[float, float]:
    """Return the share of users with identical lists, and the largest difference of an item's score in both lists."""
    places = one.join(other, on=["user_id", "rank"], how="full", suffix="_other")
    equal = (pl.col("item_id") == pl.col("item_id_other")).fill_null(False).all()
    users = places.group_by(pl.coalesce("user_id", "user_id_other").alias("user")).agg(equal.alias("equal"))
    scores = one.join(other, on=["user_id", "item_id"], suffix="_other")
    gaps = (scores["score"] - scores["score_other"]).abs()
    return float(users["equal"].mean() or 0.0), float(gaps.max() or 0.0)


if __name__ == "__main__":
    main()

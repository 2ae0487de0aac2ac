"""The order-aware interest model alone, as one source: last item of each user out, ranked against all others.

    RECSYS_DATA=… python tests/benchmarks/next_item.py --config configs/qb_zh.yaml
    RECSYS_DATA=… python tests/benchmarks/next_item.py --config configs/ml1m.yaml --set size=128 --set max_steps=8000

The model learns from everything but the last item, over the checkpoint's embeddings as they come, and every other item
of the user's is left out of the ranking, as in the published tables. `--tower mean` and `--without residual` tell what
tower and residual are worth.
"""

from __future__ import annotations

import argparse
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import torch
import yaml

from recsys.config import InterestConfig, SequenceConfig, WindowsConfig, load_config
from recsys.dataset.histories import build_histories
from recsys.dataset.ingestion import ingest
from recsys.dataset.windows import split_windows
from recsys.evaluation.intervals import mean_interval
from recsys.text.encoder import Encoder
from recsys.text.interest import InterestModel
from recsys.text.item_text import make_texts


def main() -> None:
    """Print hit rate and nDCG at 10 with intervals, and the seconds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of text.sequence")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    config = load_config(given.config)
    found = ingest(config.dataset, now=datetime.now(UTC))
    windows = WindowsConfig(protocol="leave_last_out")
    test = split_windows(found.interactions, windows, repeats=False, end=None, seed=config.seed).test
    histories = build_histories(test.history, found.items, test.cutoff)
    encoder = Encoder(config.text.checkpoint, config.text)
    texts = make_texts(found.items, config.text.fields)
    started = time.perf_counter()
    embeddings = encoder.encode(texts.to_list())
    embedding = time.perf_counter() - started
    changes = dict(one.split("=", 1) for one in given.set)
    settings: InterestConfig = SequenceConfig.model_validate(
        {**config.text.sequence.model_dump(), **{name: yaml.safe_load(value) for name, value in changes.items()}}
    )
    model = InterestModel(embeddings.shape[1], settings)
    started = time.perf_counter()
    losses = model.fit(histories, embeddings, config.seed, texts=texts, bfloat16=encoder.precision == "bfloat16")
    fitting = time.perf_counter() - started
    places = pl.DataFrame({"item_id": histories.item_ids}).with_row_index("item")
    users = histories.take(test.positives["user_id"])
    wanted = pl.DataFrame({"user_id": users.user_ids}).join(test.positives, on="user_id", maintain_order="left")
    targets = wanted.join(places, on="item_id", maintain_order="left")["item"].to_numpy().astype(np.int64)
    items = model.item_vectors(embeddings)
    ranks = []
    for first, shard in users.split(1024):
        scores = model.user_vectors(shard, items) @ items.T
        scores[shard.users, shard.items] = -np.inf
        own = scores[np.arange(shard.n_users), targets[first : first + shard.n_users]]
        # Of equal scores the right one comes last.
        ranks.append((scores >= own[:, None]).sum(axis=1) - 1)
    rank = np.concatenate(ranks)
    hit = (rank < 10).astype(np.float64)
    rate, gain = (mean_interval(values, 1000, 0.95, 0) for values in (hit, hit / np.log2(rank + 2.0)))
    print(
        f"{config.name} {changes or ''}: HR@10 {rate.mean:.4f} [{rate.low:.4f}, {rate.high:.4f}], nDCG@10 "
        f"{gain.mean:.4f} [{gain.low:.4f}, {gain.high:.4f}] on {len(rank):,} users; embedding {embedding:.0f} s, "
        f"fitting {fitting:.0f} s, {len(losses)} epochs, loss {losses[0]:.3f} to {losses[-1]:.3f}"
    )


if __name__ == "__main__":
    main()

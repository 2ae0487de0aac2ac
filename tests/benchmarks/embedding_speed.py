"""Our encoder beside sentence-transformers' own `encode`: seconds, and whether the ranking stays as good.

By hand, from the project's root (3,000 texts take some minutes):

    python tests/benchmarks/embedding_speed.py --items goodbooks/items.jsonl.gz --texts 3000 --threads 2

Both read the same checkpoint, cut texts to 128 tokens and have the same threads; sentence-transformers has its
defaults (float32, batches of 32), we have ours. They take turns in one process, each first in every other round. What
else the machine does changes the seconds of both, so the ratio inside a round is what counts.

Quality is nDCG@10 over the items whose first author wrote another of them: by cosine, how high among all items stand
those of the same author? `pip install sentence-transformers` brings the peer, which the project itself does not need.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_PEER = "sentence-transformers"
_N = 10


def main() -> None:
    options = _parse()
    # Before torch and numpy are imported: they read it once.
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    os.environ["RAYON_NUM_THREADS"] = str(options.threads)
    import numpy as np
    import torch

    from recsys.config import TextConfig
    from recsys.text.checkpoint import find_checkpoint
    from recsys.text.encoder import Encoder

    try:
        from sentence_transformers import SentenceTransformer
    except ModuleNotFoundError:
        sys.exit(f"{_PEER} is not installed; pip install {_PEER}, then run again")
    torch.set_num_threads(options.threads)
    texts, authors = _read(options.items, options.texts)
    ours = Encoder(options.checkpoint, TextConfig(max_tokens=options.max_tokens))
    peer = SentenceTransformer(find_checkpoint(options.checkpoint), device=ours.device.type)
    peer.max_seq_length = options.max_tokens
    encoders = {"recsys": ours.encode, _PEER: peer.encode}
    seconds, vectors = _take_turns(encoders, texts, options.rounds)

    tokens = sum(len(one) for one in ours.tokenize(texts)) / len(texts)
    print(f"{len(texts):,} texts of {tokens:.0f} tokens, {options.threads} threads, {options.checkpoint}, ", end="")
    print(f"recsys in {ours.precision} on {ours.device.type}")
    for name, taken in seconds.items():
        rounds = " ".join(f"{one:.1f}" for one in taken)
        print(f"{name:>22}: {min(taken):7.1f} s at best, {len(texts) / min(taken):7.1f} texts/s; rounds {rounds}")
    ratios = [slow / fast for slow, fast in zip(seconds[_PEER], seconds["recsys"], strict=True)]
    best = min(seconds[_PEER]) / min(seconds["recsys"])
    print(f"ratio: {best:.2f} of the best rounds; {statistics.median(ratios):.2f} the median of rounds, ", end="")
    print(f"{min(ratios):.2f} to {max(ratios):.2f}")
    units = [found / np.linalg.norm(found, axis=1, keepdims=True) for found in vectors.values()]
    cosines = np.vecdot(*units)
    print(f"cosine of the two: {cosines.min():.5f} at least, {cosines.mean():.6f} in the mean")
    qualities = [_measure_ndcg(found, authors) for found in units]
    print(f"nDCG@{_N} by first author: recsys {qualities[0]:.5f}, {_PEER} {qualities[1]:.5f}, ", end="")
    print(f"difference {qualities[0] / qualities[1] - 1:+.3%}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=Path, required=True, help="JSON lines with title, text and meta.authors")
    parser.add_argument("--texts", type=int, default=2_000, help="how many, drawn at random; more than there are: all")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--checkpoint", default="all-MiniLM-L6-v2")
    return parser.parse_args()


def _read(path: Path, n_texts: int) -> tuple[list[str], Any]:
    """Return texts, and the number of each one's first author."""
    import numpy as np

    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    items = [json.loads(line) for line in content.splitlines()]
    drawn = [items[place] for place in np.random.default_rng(0).permutation(len(items))[:n_texts]]
    texts = [f"{item['title']}. {item['text']}" for item in drawn]
    first = [item["meta"]["authors"].split(",")[0].strip() for item in drawn]
    return texts, np.unique(first, return_inverse=True)[1]


def _take_turns(
    encoders: dict[str, Callable[[list[str]], Any]], texts: list[str], rounds: int
) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Return the seconds of each round and the vectors, by encoder."""
    seconds: dict[str, list[float]] = {name: [] for name in encoders}
    vectors: dict[str, Any] = {}
    for encode in encoders.values():
        encode(texts[:64])
    for number in range(rounds):
        for name in list(encoders) if number % 2 == 0 else reversed(encoders):
            start = time.perf_counter()
            vectors[name] = encoders[name](texts)
            seconds[name].append(time.perf_counter() - start)
    return seconds, {name: vectors[name] for name in encoders}


def _measure_ndcg(vectors: Any, authors: Any) -> float:
    """Return the mean nDCG@10 of (n, size) unit vectors where items of the same author are relevant to each other."""
    import numpy as np

    others = np.bincount(authors)[authors] - 1
    gains = 1.0 / np.log2(np.arange(_N) + 2.0)
    values = []
    for query in np.flatnonzero(others):
        scores = vectors @ vectors[query]
        scores[query] = -np.inf
        best = np.argsort(-scores, kind="stable")[:_N]
        values.append((gains * (authors[best] == authors[query])).sum() / gains[: others[query]].sum())
    return float(np.mean(values))


if __name__ == "__main__":
    main()

"""An interest model alone, as one source, beside what else can be said from texts, on a real set.

    RECSYS_DATA=… python tests/benchmarks/interest_alone.py --config configs/qb_zh.yaml --model sequence --last-out
    RECSYS_DATA=… python tests/benchmarks/interest_alone.py --config configs/ifdb.yaml --set text.interest.size=64

The model learns from the histories of the config's test window, or from everything but the last item of each user, over
the embeddings of an encoder that the config's own recipe has trained on them: `--set text.fine_tune.epochs=0` takes the
checkpoint as it is. It ranks the whole catalogue but what the user has. `--set` changes one setting of the config.
Beside it: TF-IDF neighbours and the plain mean of a history's vectors, with paired differences by bootstrap over users.
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
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys.candidates.exclusions import Exclusions
from recsys.candidates.models import fit_text_neighbours
from recsys.candidates.neighbour_source import NeighbourSource
from recsys.candidates.source import Source
from recsys.candidates.sources.text import InterestSource, ProfileSource
from recsys.config import Config, WindowsConfig, load_config
from recsys.config.overrides import apply_settings
from recsys.dataset.histories import build_histories, find_recommendable
from recsys.dataset.ingestion import ingest
from recsys.dataset.windows import resolve_end, split_windows
from recsys.evaluation.intervals import compare_paired, mean_interval
from recsys.evaluation.metrics import count_positives, find_hits, hit_rate, ndcg, recall
from recsys.text.interest import InterestModel
from recsys.text.item_text import ItemTexts, make_texts
from recsys.training.encoder_fitting import fit_encoder
from recsys.training.encoder_inputs import prepare_encoder_inputs

_LONGEST = 50


class Question:
    """What is known, who is asked, and what they took."""

    def __init__(self, config: Config, last_out: bool) -> None:
        found = ingest(config.dataset, now=datetime.now(UTC))
        windows = WindowsConfig(protocol="leave_last_out") if last_out else config.windows
        end = resolve_end(found.interactions, None)
        test = split_windows(
            found.interactions, windows, repeats=config.dataset.repeats, end=end, seed=config.seed
        ).test
        self.items = found.items
        self.histories = build_histories(test.history, found.items, test.cutoff)
        self.recommendable = find_recommendable(found.items, test.cutoff)
        known = pl.DataFrame({"user_id": self.histories.user_ids})
        able = test.positives.join(known, on="user_id", how="semi")
        self.users = self.histories.take(able["user_id"].unique())
        pairs = self.users.number_pairs(able.select("user_id", "item_id"))
        rows, columns = pairs["user_index"].to_numpy(), pairs["item_index"].to_numpy()
        shape = (self.users.n_users, found.items.height)
        self.positives = csr_array((np.ones(len(rows), dtype=np.float32), (rows, columns)), shape=shape)
        untouched = np.bincount(self.histories.items, minlength=found.items.height) == 0
        self.cold = csr_array(self.positives.multiply(untouched[None, :]))
        self.cold.eliminate_zeros()

    def measure(self, source: Source) -> dict[str, NDArray[np.float64]]:
        """Return each user's metrics; of cold items only of users who took one."""
        lists = self._rank(source)
        hits, counts = find_hits(lists, self.positives), count_positives(self.positives)
        values = {
            "HR@10": hit_rate(hits, counts, 10),
            "nDCG@10": ndcg(hits, counts, 10),
            "recall@20": recall(hits, counts, 20),
        }
        some = np.flatnonzero(np.diff(self.cold.indptr) > 0)
        if len(some):
            cold = csr_array(self.cold[some])
            values["cold recall@50"] = recall(find_hits(lists[some], cold), count_positives(cold), 50)
        return values

    def _rank(self, source: Source) -> NDArray[np.int32]:
        lists = []
        for _, shard in self.users.split(1024):
            exclusions = Exclusions(self.recommendable, shard.starts, shard.items)
            lists.append(source.score(shard).find_top(_LONGEST, exclusions))
        return np.concatenate(lists)


def describe(values: dict[str, NDArray[np.float64]], reference: dict[str, NDArray[np.float64]] | None) -> str:
    """Return means with intervals, and the differences to the reference."""
    parts = []
    for metric, ours in values.items():
        mean = mean_interval(ours, 1000, 0.95, 0)
        parts.append(f"{metric} {mean.mean:.4f} [{mean.low:.4f}, {mean.high:.4f}]")
        if reference is not None:
            gap = compare_paired(ours, reference[metric], 1000, 0.95, 0)
            parts[-1] += f" ({gap.mean:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}])"
    return " | ".join(parts)


def main() -> None:
    """Print a line for each way; differences are to the plain mean."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--model", choices=["interest", "sequence"], default="interest")
    parser.add_argument("--last-out", action="store_true", help="instead of the config's test window")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the config")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    changes = {name: yaml.safe_load(value) for name, value in (one.split("=", 1) for one in given.set)}
    config = apply_settings(load_config(given.config), changes)
    question = Question(config, given.last_out)
    histories, texts = question.histories, make_texts(question.items, config.text.fields)
    started = time.perf_counter()
    inputs = prepare_encoder_inputs(config, question.items, histories.cutoff)
    fitted = fit_encoder(config, inputs, histories)
    embeddings = fitted.embeddings
    embedding = time.perf_counter() - started
    settings = getattr(config.text, given.model)
    model = InterestModel(embeddings.shape[1], settings)
    started = time.perf_counter()
    losses = model.fit(histories, embeddings, config.seed, texts=texts, precision=fitted.encoder.precision)
    fitting = time.perf_counter() - started
    print(
        f"{config.name}: {question.users.n_users:,} users asked, {question.positives.nnz:,} positives, "
        f"{question.cold.nnz:,} of them cold; encoder {embedding:.0f} s, fitting {fitting:.0f} s, {len(losses)} "
        f"epochs, loss {losses[0]:.3f} to {losses[-1]:.3f}",
        flush=True,
    )
    neighbours = fit_text_neighbours(
        ItemTexts.from_items(question.items, config.text.fields).as_of(histories.cutoff), config.text.tfidf
    )
    plain = question.measure(ProfileSource("mean", embeddings, settings))
    print(f"plain mean: {describe(plain, None)}")
    print(f"TF-IDF: {describe(question.measure(NeighbourSource('tfidf', '', neighbours)), plain)}")
    ours = question.measure(InterestSource(given.model, "", model, embeddings))
    print(f"{given.model} {changes or ''}: {describe(ours, plain)}")


if __name__ == "__main__":
    main()

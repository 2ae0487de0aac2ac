"""`recsys embed` and `recsys search`: texts under a registered encoder. Read-only, except for the embedding cache."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.artifacts.snapshots import read_snapshot
from recsys.config import Config
from recsys.dataset.item_vectors import Vectors, make_column
from recsys.errors import DataError, RegistryError
from recsys.pipelines.compare import load_bundle
from recsys.progress import format_count, log_stage, logger, progress_bar
from recsys.registry.tracking import connect
from recsys.registry.versions import BUNDLE, CHALLENGER, CHAMPION, Version, need_version
from recsys.serving.bundle import Bundle
from recsys.storage.files import replace_file
from recsys.storage.home import embeddings_folder, mlflow_database
from recsys.text.embedding_cache import EmbeddingCache


def embed_texts(config: Config, home: Path, texts: Sequence[str], alias: str = CHAMPION) -> NDArray[np.float32]:
    """Embed texts, without any preparation, with a registered encoder, all products in float32.

    The vectors are those that sentence-transformers computes from the bundle's `encoder/` folder, up to rounding. The
    catalogue is embedded in `text.precision`, which is faster: cosines between the two are about 1 - 1e-5.

    Args:
        config: the model's name; the encoder has the settings of its training.
        home: the folder of the default MLflow store.
        texts: at least one; empty texts are allowed.
        alias: of the version whose encoder is used.

    Returns:
        (n_texts, embedding_size) float32, rows unit length, in the order of the texts.

    Raises:
        DataError: there is no text, or a text is not valid Unicode.
        RegistryError: no version has the alias.
    """
    if not texts:
        raise DataError("embed: no text; pass texts with --text, or one per line on standard input")
    for number, text in enumerate(texts, start=1):
        _check_unicode(text, f"text {number} of {len(texts)}")
    version, bundle = load_registered(config, home, alias)
    _warn_unknown(bundle, texts)
    with log_stage("texts") as done, progress_bar("Embedding", len(texts)) as progress:
        vectors = bundle.encoder.in_full_precision().encode(texts, progress)
        done(f"{format_count(len(texts), 'text')} embedded with {alias} version {version.number}")
    return vectors


def embed_items(config: Config, home: Path, out: Path, alias: str = CHAMPION) -> int:
    """Embed the items of the newest snapshot with a registered encoder, for `dataset.items.vectors` of another config.

    Args:
        config: the names of the model and the snapshot.
        home: the folder of snapshots and the default MLflow store.
        out: Parquet file to write: `item_id`, and `vector` as lists of float32, unit length; replaced if it exists.
        alias: of the version whose encoder is used.

    Returns:
        The number of items.

    Raises:
        ArtifactError: there is no snapshot, or the file cannot be written.
        RegistryError: no version has the alias.
    """
    snapshot = read_snapshot(home, config.name, config.dataset.model_dump(mode="json"))
    version, bundle = load_registered(config, home, alias)
    embeddings = _embed_catalogue(bundle, snapshot.items, home, f"{alias} version {version.number}")
    column = make_column("", Vectors(embeddings, np.asarray(embeddings.any(axis=1)))).alias("vector")
    with replace_file(out) as staging:
        snapshot.items.select("item_id", column).write_parquet(staging)
    return snapshot.items.height


def search(
    config: Config, home: Path, text: str, n: int = 10, alias: str = CHAMPION, *, available: bool = True
) -> pl.DataFrame:
    """Return the items of the newest snapshot whose texts are nearest to a text.

    Args:
        config: the names of the model and the snapshot.
        home: the folder of snapshots and the default MLflow store.
        text: in any language of the checkpoint; encoded without any preparation.
        n: how many items at most; all items where there are fewer.
        alias: of the version whose encoder is used.
        available: search available items only.

    Returns:
        As `find_nearest`, with `title` (String) after `item_id`.

    Raises:
        DataError: the encoder knows no token of the text, the text is not valid Unicode, or no item is available.
        ArtifactError: there is no snapshot.
        RegistryError: no version has the alias.
    """
    if not text.strip():
        raise DataError("search: the text is empty; enter words, such as 'a crew lost in space'")
    _check_unicode(text, "search: the text")
    snapshot = read_snapshot(home, config.name, config.dataset.model_dump(mode="json"))
    items = snapshot.items.filter(pl.col("available")) if available else snapshot.items
    if items.is_empty():
        raise DataError(
            f"search: none of the {format_count(snapshot.items.height, 'item')} of snapshot {snapshot.id} is "
            "available; add --all to search all items, or ingest newer data"
        )
    version, bundle = load_registered(config, home, alias)
    if not _has_known_token(bundle, [text])[0]:
        raise DataError(
            f"search: no word or character of the text is in the vocabulary of {alias} version {version.number} "
            f"({bundle.config.text.checkpoint}); use words of its languages, or train with another text.checkpoint"
        )
    embeddings = _embed_catalogue(bundle, items, home, f"{alias} version {version.number}")
    nearest = find_nearest(embeddings, bundle.encoder.encode([text])[0], items["item_id"], n)
    titles = items.select("item_id", "title")
    return nearest.join(titles, on="item_id", how="left", maintain_order="left").select(
        "rank", "item_id", "title", "cosine"
    )


def find_nearest(
    embeddings: NDArray[np.float32], vector: NDArray[np.float32], item_ids: pl.Series, n: int
) -> pl.DataFrame:
    """Return the n items of highest cosine to a vector, highest first; ties are in the order of item ids.

    Args:
        embeddings: (n_items, embedding_size) float32, rows unit length.
        vector: (embedding_size) float32, unit length.
        item_ids: (n_items) strings.
        n: all items where there are fewer.

    Returns:
        `rank` (UInt32, from 1), `item_id`, `cosine` (Float32).
    """
    # Row by row: a matrix product may round equal rows differently, and ties would be broken at random.
    cosines = np.vecdot(embeddings, vector).clip(-1.0, 1.0)
    return (
        pl.DataFrame({"item_id": item_ids, "cosine": cosines})
        .sort(["cosine", "item_id"], descending=[True, False])
        .head(n)
        .with_row_index("rank", offset=1)
    )


def load_registered(config: Config, home: Path, alias: str) -> tuple[Version, Bundle]:
    """Return the version that an alias names, and its bundle. No store is created where there is none.

    Raises:
        DataError: the alias is not valid Unicode.
        RegistryError: there is no store yet, or no version has the alias.
    """
    other = CHALLENGER if alias == CHAMPION else CHAMPION
    next_step = f"run 'recsys train' and 'recsys promote' first, or use --alias {other}"
    _check_unicode(alias, "alias")
    # Connecting creates a store where there is none, and this command is read-only.
    if not os.environ.get("MLFLOW_TRACKING_URI") and not mlflow_database(home).exists():
        raise RegistryError(f"model '{config.model_name}': no MLflow store in {home} yet; run 'recsys train' first")
    store = connect(home, config)
    version = need_version(store, config.model_name, alias, next_step)
    return version, load_bundle(store, version, BUNDLE)


def _embed_catalogue(bundle: Bundle, items: pl.DataFrame, home: Path, encoder: str) -> NDArray[np.float32]:
    with log_stage("catalogue") as done, progress_bar("Embedding", items.height) as progress:
        embeddings = bundle.embed(bundle.make_item_texts(items), progress, EmbeddingCache(embeddings_folder(home)))
        done(f"{format_count(items.height, 'item')} embedded with {encoder}")
    return embeddings


def _check_unicode(text: str, what: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{what}: character {error.start + 1} is not valid Unicode (a byte that is not UTF-8, or half a "
            "character); "
            "expected UTF-8; convert it, as with iconv, or set a UTF-8 locale"
        ) from error


def _has_known_token(bundle: Bundle, texts: Sequence[str]) -> list[bool]:
    """Return, for each text, whether it has a token that is not special; the unknown token is special."""
    special = set(bundle.encoder.tokenizer.all_special_ids)
    return [not special.issuperset(tokens) for tokens in bundle.encoder.tokenize(texts)]


def _warn_unknown(bundle: Bundle, texts: Sequence[str]) -> None:
    unknown = [str(number) for number, known in enumerate(_has_known_token(bundle, texts), start=1) if not known]
    if unknown:
        shown = ", ".join(unknown[:5]) + (" …" if len(unknown) > 5 else "")
        logger.warning(
            "embed: %d of %d texts (number %s) have no word or character in the vocabulary of %s; "
            "their vectors are meaningless",
            len(unknown),
            len(texts),
            shown,
            bundle.config.text.checkpoint,
        )

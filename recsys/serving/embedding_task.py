"""New texts on disk, and the task that embeds a share of them, on this machine or on another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from recsys.config import Config, TextConfig
from recsys.engines import make_engine
from recsys.progress import format_count, log_stage
from recsys.serving.bundle import Bundle
from recsys.storage.files import scan_parquet
from recsys.storage.folders import scratch_folder
from recsys.storage.home import embeddings_folder
from recsys.text import embedding_cache
from recsys.text.embedding_cache import EmbeddingCache
from recsys.text.encoder import Encoder
from recsys.text.item_text import ItemTexts

# The encoder that this process works with.
_LOADED: dict[Path, Encoder] = {}


@dataclass(frozen=True)
class EmbeddingTask:
    """Embeds shares of the texts and writes them to the cache; small enough to be sent to another process.

    Attributes:
        inputs: folder with the encoder and the texts; every machine must see it under the same path.
        cache: folder of the cache, likewise.
        size: texts in a share.
        config: of the encoder's texts.
    """

    inputs: Path
    cache: Path
    size: int
    config: TextConfig

    def __call__(self, number: int) -> int:
        """Embed a share and return its number of texts."""
        if self.inputs not in _LOADED:
            _LOADED.clear()
            _LOADED[self.inputs] = Encoder(str(self.inputs / "encoder"), self.config)
        texts = scan_parquet(self.inputs / "texts.parquet").slice(number * self.size, self.size).collect()["text"]
        EmbeddingCache(self.cache).encode(_LOADED[self.inputs], texts)
        return len(texts)


def embed_with_engine(bundle: Bundle, texts: ItemTexts, home: Path, config: Config) -> None:
    """Embed the texts that neither the bundle nor the cache has on the engine of the config, and cache them.

    Args:
        bundle: whose encoder embeds.
        texts: of tonight's catalogue.
        home: of the cache; the caller holds the generation lock.
        config: names the engine.
    """
    cache, size = embeddings_folder(home), embedding_cache.TEXTS_PER_FILE
    missing = EmbeddingCache(cache).find_missing(bundle.encoder, bundle.find_new_texts(texts))
    if len(missing) <= size:
        return
    with log_stage("texts embedded by the engine") as done, scratch_folder(home, "embedding") as folder:
        bundle.encoder.save(folder / "encoder")
        missing.alias("text").to_frame().write_parquet(folder / "texts.parquet")
        work = EmbeddingTask(folder, cache, size, bundle.config.text)
        engine = make_engine(config.generation.engine, config.threads)
        done(f"{format_count(sum(count for _, count in engine.run(work, range(-(-len(missing) // size)))), 'text')}")

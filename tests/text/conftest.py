"""The real checkpoint, loaded once, and a tiny BERT with its own vocabulary."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from recsys.config import TextConfig
from recsys.text.checkpoint import DEFAULT_CHECKPOINT
from recsys.text.encoder import Encoder

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh", *("##" + letter for letter in "abcdefgh")]
SIZES = {
    "vocab_size": len(WORDS),
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 24,
}


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    """The published weights in float32; tests that change it work on a copy."""
    return Encoder(DEFAULT_CHECKPOINT, TextConfig(precision="float32"))


@pytest.fixture
def write_checkpoint(tmp_path: Path) -> Callable[..., Path]:
    """Write a small model of any transformers family, with a WordPiece tokenizer, as `save_pretrained` does."""
    from transformers import AutoConfig, AutoModel, BertTokenizer

    def write(name: str = "tiny", family: str = "bert", lower: bool = True, **more: Any) -> Path:
        folder = tmp_path / name
        with torch.random.fork_rng():
            torch.manual_seed(0)
            AutoModel.from_config(AutoConfig.for_model(family, **{**SIZES, **more})).save_pretrained(folder)
        words = tmp_path / "words.txt"
        words.write_text("\n".join(WORDS) + "\n", encoding="utf-8")
        BertTokenizer(str(words), do_lower_case=lower).save_pretrained(folder)
        return folder

    return write

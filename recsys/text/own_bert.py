"""A BERT of the catalogue's own: a vocabulary of its words, and weights that start from nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from recsys.config import OwnBertConfig
from recsys.errors import DataError
from recsys.text.item_text import clean_text

_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
# Joined pieces must be met this often: a word met once teaches nothing that its characters do not.
_LEAST_COUNT = 2
_LEAST_POSITIONS = 16


def build_own_bert(texts: Sequence[str], config: OwnBertConfig, max_tokens: int, folder: Path, seed: int) -> None:
    """Write a checkpoint folder that `load_pretrained` reads: WordPiece tokenizer and an untrained BERT.

    For catalogues in a language that no checkpoint at hand can read. The vectors mean nothing until the model has been
    adapted to the texts and fine-tuned. The same texts and settings give the same bytes. The vocabulary is smaller
    than asked for where the texts hold fewer pieces worth having.

    Args:
        texts: the catalogue's, in any script; empty ones are fine.
        config: size of the vocabulary and shape of the model.
        max_tokens: the longest text the model is to read; it has that many positions, 16 at least.
        folder: made where it does not exist; files of the same names are replaced.
        seed: draws the initial weights. Nobody else's random numbers move.

    Raises:
        DataError: no text holds a word.
    """
    from transformers import BertConfig, BertModel, BertTokenizer
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    clean = [clean_text(text, max_tokens) for text in texts]
    words = learn_vocabulary(clean, config.vocabulary_size)
    positions = max(_LEAST_POSITIONS, max_tokens)
    shape = BertConfig(
        vocab_size=len(words),
        hidden_size=config.embedding_size,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        intermediate_size=4 * config.embedding_size,
        max_position_embeddings=positions,
        pad_token_id=_SPECIAL.index("[PAD]"),
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = BertModel(shape, add_pooling_layer=False)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    numbered = {word: number for number, word in enumerate(words)}
    BertTokenizer(numbered, strip_accents=False, model_max_length=positions).save_pretrained(folder)


def learn_vocabulary(texts: Sequence[str], size: int) -> list[str]:
    """Return at most `size` WordPiece tokens of the texts (Schuster and Nakajima 2012), in the order of their numbers.

    First BERT's special tokens; then every character that appears, and every `##` character that appears inside a
    word, most frequent first and ties by code point; then the pieces joined from them, in the order they were joined.
    Chinese characters are words by themselves. Letters are lowered, but keep their accents: to strip them would change
    what is said in Hindi, Japanese or Korean.

    Raises:
        DataError: no text holds a word.
    """
    characters = _count_characters(texts)
    if not characters:
        raise DataError(
            f"texts of {len(texts):,} items: found no word in any, expected some to make a vocabulary of for "
            "text.own_bert; mend text.fields, or remove text.own_bert"
        )
    ranked = sorted(characters, key=lambda piece: (-characters[piece], len(piece), piece))
    words = _SPECIAL + ranked[: size - len(_SPECIAL)]
    return words if len(words) == size else _join_pieces(texts, words, size)


def _join_pieces(texts: Sequence[str], words: list[str], size: int) -> list[str]:
    """Return the words followed by the pieces that are joined from them."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = _make_reader()
    # The trainer numbers the `##` characters as a hash map yields them, and breaks ties by number: the vocabulary
    # would be another one each time (huggingface/tokenizers#1794). Named beforehand, they have their numbers.
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        min_frequency=_LEAST_COUNT,
        special_tokens=words,
        limit_alphabet=len(words),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    found = tokenizer.get_vocab()
    return sorted(found, key=found.__getitem__)


def _count_characters(texts: Sequence[str]) -> Counter[str]:
    """Count each character wherever it stands, and as `##` character where it stands inside a word."""
    normalizer, splitter = _make_reader()
    words = Counter(word for text in texts for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)))
    pieces: Counter[str] = Counter()
    for word, count in words.items():
        for character in word:
            pieces[character] += count
        for character in word[1:]:
            pieces[f"##{character}"] += count
    return pieces


def _make_reader() -> tuple[normalizers.BertNormalizer, pre_tokenizers.BertPreTokenizer]:
    """Return what cuts a text into words, the same as in the tokenizer that is saved."""
    normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=False, lowercase=True
    )
    return normalizer, pre_tokenizers.BertPreTokenizer()

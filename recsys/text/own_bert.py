"""A new BERT for one catalogue: a vocabulary learned from its texts, and untrained weights."""

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
# A merged piece must occur this often: a word that occurs once adds nothing to its characters.
_MIN_COUNT = 2
_MIN_POSITIONS = 16


def build_own_bert(texts: Sequence[str], config: OwnBertConfig, max_tokens: int, folder: Path, seed: int) -> None:
    """Write a checkpoint folder that `load_pretrained` reads: WordPiece tokenizer and an untrained BERT.

    It is meant for catalogues in a language without a suitable checkpoint. The vectors carry no information until the
    model has been adapted to the texts and fine-tuned. The same texts and settings give the same bytes. The vocabulary
    is smaller than configured if the texts have fewer frequent pieces.

    Args:
        texts: of the catalogue, in any script; may be empty.
        config: size of the vocabulary and shape of the model.
        max_tokens: length of the longest text; the model has this many positions, at least 16.
        folder: created if it does not exist; existing files are replaced.
        seed: draws the initial weights. The caller's random state is not changed.

    Raises:
        DataError: no text has a word.
    """
    from transformers import BertConfig, BertModel, BertTokenizer
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    clean = [clean_text(text, max_tokens) for text in texts]
    tokens = learn_vocabulary(clean, config.vocabulary_size)
    positions = max(_MIN_POSITIONS, max_tokens)
    shape = BertConfig(
        vocab_size=len(tokens),
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
    vocabulary = {token: number for number, token in enumerate(tokens)}
    BertTokenizer(vocabulary, strip_accents=False, model_max_length=positions).save_pretrained(folder)


def learn_vocabulary(texts: Sequence[str], size: int) -> list[str]:
    """Return at most `size` WordPiece tokens of the texts (Schuster and Nakajima 2012), in the order of their ids.

    BERT's special tokens come first, then every character, and every `##` character that occurs inside a word, most
    frequent first and ties by code point, then the pieces merged from them, in the order of merging. A Chinese
    character is a word. Text is lower-cased, but accents are kept: without them Hindi, Japanese and Korean words would
    change their meaning.

    Raises:
        DataError: no text has a word.
    """
    characters = _count_characters(texts)
    if not characters:
        raise DataError(
            f"texts of {len(texts):,} items: no text has a word, but text.own_bert needs words for its "
            "vocabulary; "
            "fix text.fields, or remove text.own_bert"
        )
    ranked = sorted(characters, key=lambda piece: (-characters[piece], len(piece), piece))
    tokens = _SPECIAL + ranked[: size - len(_SPECIAL)]
    return tokens if len(tokens) == size else _merge_pieces(texts, tokens, size)


def _merge_pieces(texts: Sequence[str], tokens: list[str], size: int) -> list[str]:
    """Return the tokens followed by the pieces that are merged from them."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = _make_splitter()
    # The trainer numbers `##` characters in the order of a hash map and breaks ties by number, so the vocabulary would
    # vary (huggingface/tokenizers#1794). Special tokens keep their ids, so all characters are passed as special tokens.
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        min_frequency=_MIN_COUNT,
        special_tokens=tokens,
        limit_alphabet=len(tokens),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    vocabulary = tokenizer.get_vocab()
    return sorted(vocabulary, key=vocabulary.__getitem__)


def _count_characters(texts: Sequence[str]) -> Counter[str]:
    """Count each character, and each `##` character inside a word."""
    normalizer, splitter = _make_splitter()
    words = Counter(word for text in texts for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)))
    pieces: Counter[str] = Counter()
    for word, count in words.items():
        for character in word:
            pieces[character] += count
        for character in word[1:]:
            pieces[f"##{character}"] += count
    return pieces


def _make_splitter() -> tuple[normalizers.BertNormalizer, pre_tokenizers.BertPreTokenizer]:
    """Return the normaliser and the word splitter, the same as in the saved tokenizer."""
    normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=False, lowercase=True
    )
    return normalizer, pre_tokenizers.BertPreTokenizer()

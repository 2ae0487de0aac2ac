"""The peers of `peers.py`: whose program, in which environment, and the settings that are tried.

Each peer also tries the documented settings, which are the library's defaults: `{}`, or the first ones.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recsys.errors import ConfigError
from recsys.evaluation.comparison import OURS

PROGRAMS = Path(__file__).parent / "peers"

Settings = dict[str, Any]


@dataclass(frozen=True)
class Peer:
    """A model of another program.

    Attributes:
        name: in the tables.
        environment: name of its requirements file and virtual environment.
        program: file in `peers/`.
        model: what the program is asked for.
        settings: to choose from, in the order in which they are tried.
        parts: peers whose chosen settings it takes over, by the name of the part.
        neural: trains a network on the interactions.
    """

    name: str
    environment: str
    program: str
    model: str
    settings: tuple[Settings, ...]
    parts: tuple[tuple[str, str], ...] = ()
    neural: bool = False


_NEIGHBOURS: tuple[Settings, ...] = tuple(
    {"weighting": weighting, "K": k} for k in (20, 100, 5) for weighting in ("tfidf", "cosine", "bm25")
)
_ALS: tuple[Settings, ...] = (
    {},
    {"factors": 64, "alpha": 10.0, "regularization": 1.0},
    {"factors": 64, "alpha": 40.0, "regularization": 10.0},
    {"factors": 32, "alpha": 5.0, "regularization": 0.1},
    {"factors": 128, "alpha": 10.0, "regularization": 10.0},
    {"factors": 256, "alpha": 40.0, "regularization": 100.0},
)
_EASE: tuple[Settings, ...] = ({}, *({"regularization": float(value)} for value in (100, 1000, 50, 250, 2000)))
# The documented size (256 factors, 4 heads, sessions of 100) needs hours on a processor, so it is tried last, with the
# seconds that are left.
_TRANSFORMERS: tuple[Settings, ...] = (
    {"n_factors": 64, "n_heads": 2, "batch_size": 32, "session_max_len": "most histories"},
    {},
)

PEERS = (
    Peer("implicit item-kNN", "implicit", "with_implicit.py", "item-kNN", _NEIGHBOURS),
    Peer("implicit ALS", "implicit", "with_implicit.py", "ALS", _ALS),
    Peer(
        "implicit BPR",
        "implicit",
        "with_implicit.py",
        "BPR",
        (
            {},
            {"learning_rate": 0.05},
            {"learning_rate": 0.05, "factors": 64, "iterations": 300},
            {"learning_rate": 0.1, "regularization": 0.001, "factors": 64},
        ),
    ),
    Peer(
        "LensKit item-kNN",
        "lenskit",
        "with_lenskit.py",
        "item-kNN",
        tuple({"feedback": "implicit", "max_nbrs": k} for k in (20, 5, 50, 100, 200)),
    ),
    Peer(
        "LensKit ALS",
        "lenskit",
        "with_lenskit.py",
        "ALS",
        (
            {},
            {"weight": 10.0},
            {"weight": 10.0, "regularization": 10.0},
            {"weight": 40.0, "embedding_size": 128, "regularization": 10.0},
            {"weight": 5.0, "embedding_size": 32},
        ),
    ),
    Peer(
        "LensKit EASE",
        "lenskit",
        "with_lenskit.py",
        "EASE",
        (
            {},
            *({"regularization": float(value)} for value in (300, 100, 1000, 3000)),
        ),
    ),
    Peer("RecTools item-kNN", "rectools", "with_rectools.py", "item-kNN", _NEIGHBOURS),
    Peer("RecTools ALS", "rectools", "with_rectools.py", "ALS", _ALS),
    Peer("RecTools EASE", "rectools", "with_rectools.py", "EASE", _EASE),
    Peer(
        "RecTools two-stage",
        "rectools",
        "with_rectools.py",
        "two-stage",
        (
            {"trees": 100, "leaves": 31, "negatives": 3},
            {"trees": 200, "leaves": 15, "negatives": 10},
            {"trees": 100, "leaves": 15, "negatives": 30},
        ),
        parts=(("ALS", "RecTools ALS"), ("item-kNN", "RecTools item-kNN"), ("EASE", "RecTools EASE")),
    ),
    Peer("RecTools SASRec", "rectools", "with_rectools.py", "SASRec", _TRANSFORMERS, neural=True),
    Peer("RecTools BERT4Rec", "rectools", "with_rectools.py", "BERT4Rec", _TRANSFORMERS, neural=True),
    Peer(
        "RecBole SASRec",
        "recbole",
        "with_recbole.py",
        "SASRec",
        ({"hidden_dropout_prob": 0.2, "attn_dropout_prob": 0.2}, {}),
        neural=True,
    ),
    Peer(
        "sentence-transformers profile",
        "texts",
        "with_sentence_transformers.py",
        "profile",
        tuple({"last": last} for last in (None, 20, 5, 1)),
    ),
    Peer(
        "frozen BERT + LightGBM",
        "texts",
        "with_bert_and_lightgbm.py",
        "ranker",
        ({"depth": 100, "trees": 100}, {"depth": 200, "trees": 200}, {"depth": 50, "trees": 50}),
    ),
)


def list_names(text: str | None) -> set[str]:
    """Return the names in a semicolon-separated text; None: of all peers."""
    if text is None:
        return {peer.name for peer in PEERS}
    return {name.strip() for name in text.split(";") if name.strip()}


def choose(names: str | None) -> list[Peer]:
    """Return the peers whose names a semicolon-separated text lists, in the order of the roster; None: all.

    Peers that a chosen one takes over settings from come along. Our own lists may be named too; they are always
    measured, but for --measure-only.

    Raises:
        ConfigError: a name that no peer has.
    """
    wanted = list_names(names)
    if unknown := wanted - {OURS, *(peer.name for peer in PEERS)}:
        raise ConfigError(
            f"--only: no peer {', '.join(sorted(unknown))}, expected some of {'; '.join(peer.name for peer in PEERS)}"
        )
    needed = wanted | {other for peer in PEERS if peer.name in wanted for _, other in peer.parts}
    return [peer for peer in PEERS if peer.name in needed]


def find_interpreters(peers: Iterable[Peer], folder: Path) -> dict[str, Path]:
    """Return the interpreter of each peer's environment.

    Raises:
        ConfigError: an environment is missing.
    """
    found = {peer.environment: folder / peer.environment / "bin" / "python" for peer in peers}
    missing = [name for name, path in found.items() if not path.exists()]
    if missing:
        raise ConfigError(
            f"environments of peers in {folder}: no {', '.join(str(found[name]) for name in missing)}; make "
            f"{'it' if len(missing) == 1 else 'them'} with 'python tests/benchmarks/peers.py --install {folder}', or "
            "leave those peers out with --only"
        )
    return found


def install(peers: Iterable[Peer], folder: Path) -> None:
    """Make the environments of the peers; one that exists is brought up to its requirements."""
    for name in dict.fromkeys(peer.environment for peer in peers):
        target = folder / name
        print(f"{name}: {target}", file=sys.stderr, flush=True)
        venv.create(target, with_pip=True)
        command: list[str | Path] = [
            target / "bin" / "python",
            "-m",
            "pip",
            "install",
            "-q",
            "-r",
            PROGRAMS / f"{name}.txt",
        ]
        if subprocess.run(command, check=False).returncode:
            raise ConfigError(f"environment '{name}' in {target}: pip failed, see above; delete the folder and retry")


def read_versions(environment: str) -> str:
    """Return the pinned requirements of an environment on one line."""
    lines = (PROGRAMS / f"{environment}.txt").read_text(encoding="utf-8").splitlines()
    return ", ".join(line.replace("==", " ") for line in lines if line and not line.startswith("#"))

"""`recsys export`: a registered encoder as a folder that machines without torch can use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recsys.config import Config
from recsys.errors import ArtifactError
from recsys.pipelines.search import load_registered
from recsys.progress import log_stage
from recsys.registry.versions import CHAMPION
from recsys.serving.bundle import Bundle
from recsys.storage.folders import MANIFEST, write_folder
from recsys.text.export import MODEL, SETTINGS, OnnxEncoder, export_onnx, measure_agreement
from recsys.text.item_text import make_texts

_SAMPLE = 500


@dataclass(frozen=True)
class Exported:
    """An export folder, and how near its vectors are to those of the encoder that serves.

    Attributes:
        folder: where it lies.
        version: of the registered model it was made from.
        int8: whether it is quantised.
        megabytes: of the model's file.
        texts: of the catalogue that were compared.
        lowest_cosine: of the text that fares worst.
        mean_cosine: over the texts.
        neighbours_kept: share of the texts' nearest ten among each other that are the same.
    """

    folder: Path
    version: str
    int8: bool
    megabytes: float
    texts: int
    lowest_cosine: float
    mean_cosine: float
    neighbours_kept: float


def export_encoder(config: Config, home: Path, out: Path, *, int8: bool = False, alias: str = CHAMPION) -> Exported:
    """Write a registered encoder as ONNX, and compare its vectors with the encoder's own on texts of its catalogue.

    The folder appears whole or not at all, an older export in its place is exchanged for it. Its manifest holds what
    is returned, besides the files' hashes.

    Args:
        config: names the model; the encoder's settings are those of its own training.
        home: where the default MLflow store lies.
        out: the folder to appear.
        int8: quantised, a quarter of the size; look at what it kept.
        alias: of the version whose encoder it is.

    Raises:
        ArtifactError: there is something else at `out`, or it cannot be written.
        RecsysError: `onnx` or `onnxruntime` is not installed.
        RegistryError: the alias names nothing.
    """
    out = out.resolve()
    _check_free(out)
    version, bundle = load_registered(config, home, alias)
    texts = _draw_texts(bundle)

    def fill(folder: Path) -> dict[str, float]:
        path = export_onnx(bundle.encoder, folder, int8=int8)
        exported = OnnxEncoder(folder, bundle.config.text.batch_tokens)
        agreement = measure_agreement(exported.encode(texts), bundle.encoder.encode(texts))
        return {"megabytes": path.stat().st_size / 1e6, **vars(agreement)}

    facts = {"model": config.model_name, "version": version.number, "int8": int8, "texts": len(texts)}
    with log_stage("export") as done:
        manifest = write_folder(out, fill, facts)
        done(f"{MODEL}, {manifest['megabytes']:.1f} MB, from {alias} version {version.number}")
    measured = ("megabytes", "lowest_cosine", "mean_cosine", "neighbours_kept")
    return Exported(out, version.number, int8, texts=len(texts), **{name: manifest[name] for name in measured})


def summarise_export(exported: Exported) -> list[str]:
    """Say in two lines what was written and how good it is."""
    kind = "int8" if exported.int8 else "float32"
    return [
        f"{exported.folder}: version {exported.version} as {kind} ONNX, {exported.megabytes:.1f} MB",
        f"against the encoder itself on {exported.texts:,} texts of the catalogue: lowest cosine "
        f"{exported.lowest_cosine:.4f}, mean {exported.mean_cosine:.4f}, "
        f"{exported.neighbours_kept:.1%} of the ten nearest kept",
    ]


def _check_free(out: Path) -> None:
    """Refuse to exchange anything but an older export."""
    ours = (out / SETTINGS).is_file() and (out / MANIFEST).is_file()
    if out.exists() and not ours and (not out.is_dir() or any(out.iterdir())):
        raise ArtifactError(
            f"export folder {out}: is there already and holds something else than an export; expected a new or empty "
            "folder, or an export to be exchanged; choose another --out"
        )


def _draw_texts(bundle: Bundle) -> list[str]:
    """Draw a sample of the catalogue's texts by the config's seed, in the catalogue's order."""
    texts = make_texts(bundle.items, bundle.config.text.fields)
    drawn = np.random.default_rng(bundle.config.seed).permutation(len(texts))[:_SAMPLE]
    return texts.gather(np.sort(drawn)).to_list()

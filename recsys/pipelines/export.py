"""`recsys export`: a registered encoder as ONNX, for machines without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recsys.config import Config
from recsys.errors import ArtifactError
from recsys.pipelines.search import load_registered
from recsys.progress import format_count, log_stage, progress_bar
from recsys.registry.versions import CHAMPION
from recsys.serving.bundle import Bundle
from recsys.storage.folders import MANIFEST, write_folder
from recsys.text.export import MODEL, SETTINGS, OnnxEncoder, export_onnx, measure_agreement

_SAMPLE = 500


@dataclass(frozen=True)
class Exported:
    """An export folder, and how close its vectors are to those of the registered encoder.

    Attributes:
        folder: of the export.
        version: of the registered model.
        int8: whether it is quantised.
        megabytes: size of the model file.
        texts: how many texts of the catalogue were compared.
        lowest_cosine: between the two vectors of a text; the lowest over the texts.
        mean_cosine: the mean over the texts.
        neighbours_kept: share of each text's ten nearest texts that are the same with both encoders.
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
    """Write a registered encoder as ONNX, and compare its vectors with the encoder's on texts of its catalogue.

    The folder is written atomically and replaces an older export. Its manifest has the files' hashes and the values
    that are returned.

    Args:
        config: the model's name; the encoder has the settings of its training.
        home: the folder of the default MLflow store.
        out: the folder to write.
        int8: quantise to a quarter of the size, at some loss of agreement.
        alias: of the version whose encoder is exported.

    Raises:
        ArtifactError: `out` is something other than an export, or it cannot be written.
        RecsysError: `onnx` or `onnxruntime` is not installed.
        RegistryError: no version has the alias.
    """
    out = out.resolve()
    _check_free(out)
    version, bundle = load_registered(config, home, alias)
    texts = _draw_texts(bundle)

    def fill(folder: Path) -> dict[str, float]:
        path = export_onnx(bundle.encoder, folder, int8=int8)
        exported = OnnxEncoder(folder, bundle.config.text.batch_tokens)
        with progress_bar("Comparing", 2 * len(texts)) as progress:
            agreement = measure_agreement(exported.encode(texts, progress), bundle.encoder.encode(texts, progress))
        return {"megabytes": path.stat().st_size / 1e6, **vars(agreement)}

    facts = {"model": config.model_name, "version": version.number, "int8": int8, "texts": len(texts)}
    with log_stage("export") as done:
        manifest = write_folder(out, fill, facts)
        done(f"{MODEL}, {manifest['megabytes']:.1f} MB, from {alias} version {version.number}")
    measured = ("megabytes", "lowest_cosine", "mean_cosine", "neighbours_kept")
    return Exported(out, version.number, int8, texts=len(texts), **{name: manifest[name] for name in measured})


def summarise_export(exported: Exported) -> list[str]:
    """Return two lines: what was written, and how close its vectors are."""
    kind = "int8" if exported.int8 else "float32"
    return [
        f"{exported.folder}: version {exported.version} as {kind} ONNX, {exported.megabytes:.1f} MB",
        f"compared with the encoder on {format_count(exported.texts, 'text')} of the catalogue: lowest cosine "
        f"{exported.lowest_cosine:.4f}, mean {exported.mean_cosine:.4f}, "
        f"{exported.neighbours_kept:.1%} of the ten nearest neighbours kept",
    ]


def _check_free(out: Path) -> None:
    """Refuse to replace anything other than an older export."""
    is_export = (out / SETTINGS).is_file() and (out / MANIFEST).is_file()
    if out.exists() and not is_export and (not out.is_dir() or any(out.iterdir())):
        raise ArtifactError(
            f"export folder {out}: exists and is not an export; expected a new or empty folder, or an existing export "
            "to replace; choose another --out"
        )


def _draw_texts(bundle: Bundle) -> list[str]:
    """Draw a sample of the catalogue's texts with the config's seed, in the catalogue's order."""
    texts = bundle.item_texts.texts
    drawn = np.random.default_rng(bundle.config.seed).permutation(len(texts))[:_SAMPLE]
    return texts.gather(np.sort(drawn)).to_list()

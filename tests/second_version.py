"""A second registered version that ranks differently, made from the first one in a second instead of a training."""

import json
import shutil
from datetime import datetime
from pathlib import Path

from miniature import Trained

from recsys.registry.tracking import connect
from recsys.registry.versions import CHALLENGER, Version, need_number, open_bundle
from recsys.storage.folders import MANIFEST, hash_files


def register_second(
    home: Path, trained: Trained, *, cutoff: datetime | None = None, below: Path | None = None
) -> Version:
    """Register version 1 of a home again, with other weights of the blend, as the challenger.

    Args:
        home: where the version is registered and its files are written.
        trained: names the model.
        cutoff: what the bundle says it learned from; None: as version 1.
        below: the folder that its files are written to; None: the home.
    """
    store, name = connect(home, trained.config), trained.config.model_name
    first = need_number(store, name, "1", "train first")
    with open_bundle(store, first, "bundle") as bundle:
        number = len(list((below or home).glob("version-*"))) + 2
        model = shutil.copytree(bundle.parents[1], (below or home) / f"version-{number}")
    folder = model / "artifacts" / "bundle"
    ranker = json.loads((folder / "ranker.json").read_text())
    weights = dict.fromkeys(ranker["blend"], 0.0) | {"als": 0.5, "popular": 0.5}
    (folder / "ranker.json").write_text(json.dumps({**ranker, "blend": weights}))
    if cutoff is not None:
        facts = json.loads((folder / "bundle.json").read_text())
        (folder / "bundle.json").write_text(json.dumps({**facts, "cutoff": cutoff.isoformat()}))
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**manifest, "files": hash_files(folder)}))
    made = store.client.create_model_version(name, model.as_uri(), first.run_id)
    for key, value in {**first.tags, "bundle": f"second-{number}"}.items():
        store.client.set_model_version_tag(name, made.version, key, value)
    store.client.set_registered_model_alias(name, CHALLENGER, made.version)
    return need_number(store, name, str(made.version), "")


def forget_nights(home: Path, day: str) -> None:
    """Delete a home's published lists, the kept ones and the cached factors, and let readers follow a day again."""
    recommendations = home / "recommendations"
    for path in [*recommendations.glob("run_date=*"), *recommendations.glob(".*")]:
        if path.name != f"run_date={day}":
            shutil.rmtree(path)
    shutil.rmtree(home / "factors", ignore_errors=True)
    (recommendations / "CURRENT").write_text(f"run_date={day}\n")

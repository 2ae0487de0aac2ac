"""The commands of docs/how-to/backups.md: a home is backed up, moved away and destroyed, and restored elsewhere."""

import shutil
from pathlib import Path

import yaml
from miniature import RUN_DATE, settings
from pages import run_page

PAGE = "docs/how-to/backups.md"


def test_the_drill(trained_copy: Path, raw_in_place: Path, tmp_path: Path) -> None:
    folder, config = tmp_path / "checkout", tmp_path / "mini.yaml"
    folder.mkdir()
    config.write_text(yaml.safe_dump(settings()), "utf-8")
    values = {
        "RECSYS_CONFIG": str(config),
        "RECSYS_HOME": str(trained_copy),
        "RECSYS_DATA": str(raw_in_place),
        "BACKUP": str(tmp_path / "backups" / "one"),
        "NEW_HOME": str(tmp_path / "another place"),
        "RUN_DATE": RUN_DATE,
    }
    printed = run_page(PAGE, values, folder)
    assert f"run_date={RUN_DATE}/part-00000.parquet: OK" in printed
    assert f"readers see {RUN_DATE}" in printed
    assert "no problem found" in printed
    away = Path(f"{trained_copy}.away")
    assert not trained_copy.exists()
    trained_copy.mkdir()
    shutil.rmtree(away)

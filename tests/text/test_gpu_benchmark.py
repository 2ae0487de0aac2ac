"""`tests/benchmarks/gpu.py` runs on the CPU and on a pretended GPU."""

import re
import sys
from pathlib import Path

import polars as pl
import pytest
import yaml
from benchmarks import gpu
from pretended_gpu import pretend_gpu

from recsys.dataset.demo import write_demo


def test_it_prints_every_figure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--small", "--threads", "1", "--peak-tflops", "1.5"])
    gpu.main()
    printed = capsys.readouterr().out
    for line in (
        r"^device: .+ \(cpu\), torch \S+, 1 threads$",
        r"^  peak in bfloat16 1\.5 TFLOP/s \(given\)$",
        r"^  embedding: [\d,]+ texts/s, [\d.]+% of the peak",
        r"^  full fine-tuning: [\d,]+ tokens/s, [\d.]+% of the peak$",
        r"^  on cpu: [\d,]+ users/s",
        r"^  on cpu, rounded differently: [\d,]+ users/s",
        r"^  identical lists: [\d.]+% of the users; largest difference of a score: \S+$",
        r"^  within the bound",
    ):
        assert re.search(line, printed, re.MULTILINE), (line, printed)


def test_it_measures_a_gpu_and_compares_it_with_the_cpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--small", "--threads", "1"])
    with pretend_gpu() as pretended:
        gpu.main()
    printed = capsys.readouterr().out
    assert "device: Pretended H200 (cuda)" in printed
    assert "peak in bfloat16 989 TFLOP/s (by its data sheet)" in printed
    assert "products in bfloat16" in printed
    assert re.search(r"  on cuda: [\d,]+ users/s.*\n  on cpu: [\d,]+ users/s", printed)
    assert sum(pretended.operations.values()) > 1000


def test_it_compares_final_lists_by_full_fine_tuning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write_demo(tmp_path, users=80, items=60, days=40, seed=0)
    settings = gpu.make_settings(tmp_path, 1)
    settings["text"] = {"own_bert": {"layers": 1, "embedding_size": 16, "heads": 1, "vocabulary_size": 200}}
    settings["ranking"] = {"max_trees": 5, "fixed_trees": 5}
    config = tmp_path / "tiny.yaml"
    config.write_text(yaml.safe_dump(settings), "utf-8")
    monkeypatch.syspath_prepend(Path(gpu.__file__).parent)
    steps = "text.fine_tune.max_steps_per_epoch=2"
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--threads", "1", "--lists", str(config), "--set", steps])
    gpu.main()
    names = ("frozen", "fine-tuned", "half of the untouched weights", "three times as long")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == list(names)
    assert re.search(r"ndcg@10 0\.\d{4} ± 0\.0000 \([+-]0\.\d{4} \[[+-]0\.\d{4}, [+-]0\.\d{4}\]\) of \d+", lines[1])
    assert "(" not in lines[0]


def test_lists_that_differ_end_with_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--small"])
    for name, result in (("describe_device", 1.0), ("measure_encoder", None), ("measure_night", (0.9, 0.0))):
        monkeypatch.setattr(gpu, name, lambda *given, result=result: result)
    with pytest.raises(SystemExit, match="lists differ more than allowed"):
        gpu.main()


def test_lists_are_compared_by_user_and_by_score() -> None:
    def make(*rows: tuple[str, int, str, float]) -> pl.DataFrame:
        return pl.DataFrame(rows, schema=["user_id", "rank", "item_id", "score"], orient="row")

    one = make(("u", 1, "a", 0.5), ("u", 2, "b", 0.25), ("v", 1, "a", 0.5), ("w", 1, "c", 0.5))
    other = make(("u", 1, "a", 0.5), ("u", 2, "b", 0.125), ("v", 1, "b", 0.5), ("w", 1, "c", 0.5), ("w", 2, "d", 0.5))
    assert gpu.compare(one, other) == (pytest.approx(1 / 3), 0.125)
    assert gpu.compare(one, one) == (1.0, 0.0)

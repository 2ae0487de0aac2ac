import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
from miniature import Trained, read_files
from shell import Call, expect

from recsys.config import VectorFiles
from recsys.dataset.ingestion.vectors import check_vectors, read_vector_files


class TestTexts:
    """`embed` and `search` as shell commands; their results are tested with their pipeline."""

    def test_embed(
        self, call: Call, write_config: Callable[..., Path], trained: Trained, pipe: Callable[[bytes], None]
    ) -> None:
        before = read_files(trained.home)
        config = write_config()
        texts = ["bread & butter", "", "שלום [b] 🎬\u2028\x0c\0", " two  spaces "]
        pipe("\n".join(texts).encode())
        plain = call("embed", "-c", config, home=trained.home)
        rows = [[np.float32(number) for number in line.split("\t")] for line in plain.out.splitlines()]
        assert (len(rows), {len(row) for row in rows}) == (4, {384})
        # CRLF line ends, a byte order mark and a final newline do not change the texts.
        pipe(b"\xef\xbb\xbf" + "".join(text + "\r\n" for text in texts).encode())
        parsed = json.loads(call("embed", "-c", config, "--json", home=trained.home).out)
        assert [row["text"] for row in parsed] == texts
        # Both formats parse back to the same float32.
        assert [np.float32(row["vector"]).tobytes() for row in parsed] == [np.array(row).tobytes() for row in rows]
        given = call(
            "embed", "-c", config, "--text", texts[0], "-t", texts[0], "--alias", "champion", home=trained.home
        )
        first, second = (np.float32(line.split("\t")) for line in given.out.splitlines())
        # A matrix product may round equal rows differently.
        np.testing.assert_allclose(first, second, atol=1e-5)
        np.testing.assert_allclose(first, rows[0], atol=1e-3)
        assert read_files(trained.home) == before

    def test_embed_the_catalogue_as_item_vectors_of_another_config(
        self, call: Call, write_config: Callable[..., Path], trained: Trained, tmp_path: Path
    ) -> None:
        before, out = read_files(trained.home), tmp_path / "vectors.parquet"
        answer = call("embed", "-c", write_config(), "--items", out, home=trained.home)
        assert answer.code == 0
        # Long lines are folded.
        assert "".join(answer.out.split()) == "".join(f"vectors of 120 items written to {out}".split())
        answer = call("embed", "-c", write_config(), "--items", out, "--json", home=trained.home)
        assert json.loads(answer.out) == {"items": 120, "file": str(out)}
        files = VectorFiles(path=str(out))
        rows = check_vectors("items.vectors.other", pl.concat(read_vector_files("other", files)))
        assert rows["item_id"].n_unique() == 120
        assert rows["vector"].list.len().unique().to_list() == [384]
        answer = call("embed", "-c", write_config(), "--items", out, "-t", "x", home=trained.home)
        expect(answer, "--items and --text are both set")
        assert read_files(trained.home) == before

    def test_search(self, call: Call, write_config: Callable[..., Path], trained: Trained) -> None:
        before = read_files(trained.home)
        config = write_config()
        answer = call("search", "-c", config, "a crew lost in space", "--n", 500, "--all", "--json", home=trained.home)
        nearest = json.loads(answer.out)
        assert [set(row) for row in nearest] == [{"rank", "item_id", "title", "cosine"}] * 120
        table = call("search", "-c", config, "a crew lost in space", "-n", 500, home=trained.home).out
        shown = [row for row in nearest if re.search(rf" {row['item_id']} .* {row['cosine']:.4f}\b", table)]
        assert 60 < len(shown) < 120
        assert shown[0]["title"] in table
        assert read_files(trained.home) == before

    def test_nothing_to_encode(
        self, call: Call, write_config: Callable[..., Path], trained: Trained, pipe: Callable[[bytes], None]
    ) -> None:
        config = write_config()
        pipe(b"")
        answer = call("embed", "-c", config, home=trained.home)
        expect(answer, "embed: no text; pass texts with --text, or one per line")
        pipe("fine\ncafé".encode("latin-1"))
        expect(call("embed", "-c", config, home=trained.home), "text 2 of 2: character 4 is not valid Unicode")
        expect(call("embed", "-c", config, "-t", "\udcff", home=trained.home), "text 1 of 1: character 1 is not valid")
        expect(call("search", "-c", config, " ", home=trained.home), "search: the text is empty")
        expect(
            call("search", "-c", config, "x", "--alias", "nobody", home=trained.home), "no version has the alias 'no"
        )
        for n in ("0", "-1", "x"):
            answer = call("search", "-c", config, "x", "--n", n, home=trained.home)
            assert (answer.code, answer.out) == (2, "")
            assert "--n" in answer.err

    def test_before_the_first_step(
        self, call: Call, write_config: Callable[..., Path], tmp_path: Path, pipe: Callable[[bytes], None]
    ) -> None:
        config = write_config()
        pipe(b"x")
        expect(call("embed", "-c", config), "model 'recsys': no MLflow store in", "run 'recsys train' first")
        expect(call("search", "-c", config, "x"), "snapshot of 'mini': none in", "run 'recsys ingest'")
        assert not (tmp_path / "new home").exists()

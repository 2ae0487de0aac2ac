"""Commands that use the encoder of a registered model version."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from recsys.cli.options import AliasOption, ConfigOption, JsonOption
from recsys.cli.output import print_json, print_lines, print_table, print_text
from recsys.cli.setup import load_settings


def embed(
    config: ConfigOption,
    text: Annotated[
        list[str] | None,
        typer.Option(
            "--text", "-t", metavar="TEXT", help="A text to embed; repeatable. Default: one text per line of stdin."
        ),
    ] = None,
    items: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Embed the items of the newest snapshot instead, into this Parquet file, which "
            "`dataset.items.vectors` of another config can name.",
        ),
    ] = None,
    alias: AliasOption = "champion",
    as_json: JsonOption = False,
) -> None:
    """Embed texts with the champion's encoder (TSV).

    Read-only. Prints one line per text, numbers separated by tabs. Vectors have unit length, so a dot product is a
    cosine. Only the first `text.max_tokens` tokens of a text count.

    Example: `recsys embed -c configs/demo.yaml < titles.txt > vectors.tsv`
    """
    settings = load_settings(config, "pipelines.search")
    from recsys.config import home
    from recsys.errors import ConfigError
    from recsys.pipelines.search import embed_items, embed_texts
    from recsys.progress import format_count

    if items is not None:
        if text:
            raise ConfigError("embed: --items and --text are both set; embed either the catalogue or texts")
        count = embed_items(settings, home(), items, alias)
        if as_json:
            print_json({"items": count, "file": str(items)})
        else:
            print_text(f"vectors of {format_count(count, 'item')} written to {items}")
        return
    texts = text or _read_lines()
    vectors = embed_texts(settings, home(), texts, alias)
    # The shortest digits that parse back to the same float32.
    rows = [[str(number) for number in vector] for vector in vectors]
    if as_json:
        pairs = zip(texts, rows, strict=True)
        print_json([{"text": text, "vector": [float(number) for number in row]} for text, row in pairs], indent=None)
        return
    print_lines(*("\t".join(row) for row in rows))


def search(
    config: ConfigOption,
    text: Annotated[
        str, typer.Argument(metavar="TEXT", help="Text to search for, in any language that the checkpoint knows.")
    ],
    n: Annotated[int, typer.Option("--n", "-n", min=1, metavar="N", help="Maximum number of items.")] = 10,
    alias: AliasOption = "champion",
    available: Annotated[
        bool, typer.Option("--available/--all", help="Search available items only, or all items.")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Find items by meaning, with the champion's encoder.

    Read-only. Searches the texts of the newest snapshot, including items that were not in the training data.

    Example: `recsys search -c configs/demo.yaml "a crew lost in space" -n 5`
    """
    settings = load_settings(config, "pipelines.search")
    from recsys.cli.tables import nearest_table
    from recsys.config import home
    from recsys.pipelines.search import search as search_pipeline

    nearest = search_pipeline(settings, home(), text, n, alias, available=available)
    if as_json:
        print_json(nearest.to_dicts())
        return
    print_table(nearest_table(nearest))


def export(
    config: ConfigOption,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Output folder; an existing export is replaced.")],
    int8: Annotated[
        bool,
        typer.Option("--int8", help="Quantise to int8 (a quarter of the size); prints how close the vectors stay."),
    ] = False,
    alias: AliasOption = "champion",
    as_json: JsonOption = False,
) -> None:
    """Export the champion's encoder to ONNX, for machines without torch.

    Needs the extra `nightly-recsys[export]`. Prints how close the exported encoder's vectors are to the original's. For
    sentence-transformers and transformers, use the `encoder/` folder of a bundle instead.

    Example: `recsys export -c configs/demo.yaml --out encoder-onnx --int8`
    """
    settings = load_settings(config, "pipelines.export")
    from recsys.config import home
    from recsys.pipelines.export import export_encoder, summarise_export

    exported = export_encoder(settings, home(), out, int8=int8, alias=alias)
    if as_json:
        print_json({**vars(exported), "folder": str(exported.folder)})
        return
    print_text(*summarise_export(exported))


def _read_lines() -> list[str]:
    """Return the lines of stdin; invalid UTF-8 becomes lone surrogates, which the pipeline reports by line number."""
    if sys.stdin.isatty():
        typer.echo("Type one text per line; end with Ctrl-D.", err=True)
    content = sys.stdin.buffer.read().decode("utf-8-sig", errors="surrogateescape")
    # `splitlines` would also split at characters that may occur inside a text.
    return [line.removesuffix("\r") for line in content.removesuffix("\n").split("\n")] if content else []

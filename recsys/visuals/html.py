"""Building blocks of self-contained HTML pages: plotting without a network, escaped data, scripts with hashes."""

from __future__ import annotations

import base64
import hashlib
import json
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from recsys.errors import ArtifactError
from recsys.extras import needs_extra
from recsys.storage.files import replace_text

with needs_extra("report", "self-contained HTML pages"):
    import vl_convert

_PLOTTING = "window.vegaEmbed = vegaEmbed;"


def bundle_plotting(cache: Path | None = None) -> str:
    """Return vega, vega-lite and vega-embed as one script that makes no network requests.

    Bundling takes longer than everything else of a page, and gives the same bytes for the same version of vl-convert.

    Args:
        cache: a file that keeps the script; it is made again for another version, or where it was changed. Where it
            cannot be written, nothing is kept.
    """
    version = metadata.version("vl-convert-python")
    kept = _read_script(cache, version) if cache else None
    if kept is not None:
        return kept
    script = vl_convert.javascript_bundle(_PLOTTING).replace("</script", "<\\/script")
    if cache:
        with suppress(ArtifactError):
            replace_text(cache, f"{_head(version, script)}\n{script}")
    return script


def _read_script(cache: Path, version: str) -> str | None:
    """Return a kept script of that version; None where there is none, or its hash is another."""
    try:
        head, _, script = cache.read_bytes().decode("utf-8").partition("\n")
    except (OSError, UnicodeDecodeError):
        return None
    return script if head == _head(version, script) else None


def _head(version: str, script: str) -> str:
    return f"// vl-convert {version}, sha256 {hash_script(script)}"


def embed_json(content: object) -> str:
    """Return JSON without characters that an HTML parser could read as a tag or an entity, whatever the data."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def hash_script(text: str) -> str:
    """Return the SHA-256 of a script in base64, as the Content-Security-Policy of a page names it."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

"""Parts of pages that hold all they need: plotting without a network, data that is no markup, scripts by hash."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache

import vl_convert


@cache
def bundle_plotting() -> str:
    """Return vega, vega-lite and vega-embed as one script that asks no network for anything."""
    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;").replace("</script", "<\\/script")


def embed_json(content: object) -> str:
    """Return JSON that no HTML parser can take for a tag or an entity, whatever the catalogue's titles are."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def hash_script(text: str) -> str:
    """Return the SHA-256 by which a page's policy knows a script, base64."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

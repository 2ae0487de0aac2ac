"""Building blocks of self-contained HTML pages: plotting without a network, escaped data, scripts with hashes."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache

from recsys.extras import needs_extra

with needs_extra("report", "self-contained HTML pages"):
    import vl_convert


@cache
def bundle_plotting() -> str:
    """Return vega, vega-lite and vega-embed as one script that makes no network requests."""
    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;").replace("</script", "<\\/script")


def embed_json(content: object) -> str:
    """Return JSON without characters that an HTML parser could read as a tag or an entity, whatever the data."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def hash_script(text: str) -> str:
    """Return the SHA-256 of a script in base64, as the Content-Security-Policy of a page names it."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

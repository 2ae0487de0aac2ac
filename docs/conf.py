"""Sphinx builds the pages of this folder: `make docs`. Warnings are errors, so a broken link stops the build."""

project = "recsys"
author = "the recsys authors"
extensions = ["myst_parser"]
html_theme = "furo"
html_title = "recsys"
html_static_path: list[str] = []
exclude_patterns = ["build"]
# Links to a heading of the same or another page, as GitHub names them.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
# Blocks of commands and their output have no lexer that fits all of them.
suppress_warnings = ["misc.highlighting_failure"]

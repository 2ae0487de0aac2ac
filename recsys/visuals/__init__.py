"""Plots, the embedding map and self-contained HTML pages."""

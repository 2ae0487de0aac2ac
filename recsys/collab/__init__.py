"""Collaborative filtering with `implicit`: factors, item-to-item neighbours, and what follows what."""

"""Where shards are computed: on this machine, or on a Ray cluster."""

from recsys.engines.engine import Engine, make_engine

__all__ = ["Engine", "make_engine"]

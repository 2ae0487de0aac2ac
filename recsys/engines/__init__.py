"""Where tasks are computed: on this machine, or on a Ray cluster."""

from recsys.engines.engine import HERE, Engine, Shared, gather, make_engine
from recsys.engines.purpose import FITTING, NIGHT, Purpose

__all__ = ["FITTING", "HERE", "NIGHT", "Engine", "Purpose", "Shared", "gather", "make_engine"]

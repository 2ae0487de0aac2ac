"""The promotion log: an append-only, hash-chained history of what serves, kept in the MLflow store.

The registry's aliases can be moved by anybody at any time and have no history; the log is the truth, and the alias
`champion` follows it (`recsys.registry.champion`).

    entry.py        one entry: its fields, its text, its hash
    chain.py        what the entries say together: champion, anchor, budget, canary
    log_run.py      the MLflow run that holds them
    mirror.py       the copy of the entries in a home
    old_ledger.py   taking over the file that older versions kept
    log.py          `PromotionLog`, which the rest of the package uses
"""

from recsys.registry.promotion_log.chain import Canary
from recsys.registry.promotion_log.entry import Action, Entry
from recsys.registry.promotion_log.log import PromotionLog

__all__ = ["Action", "Canary", "Entry", "PromotionLog"]

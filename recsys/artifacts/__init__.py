"""What ingest, train and generate write: snapshots, runs, published lists and shards of unfinished nights.

Each is a folder that appears completely or not at all. `recsys.storage.home` draws where they are.
"""

"""Files, folders, locks and caches on disk, for every other package that reads or writes.

- `home`: every path below RECSYS_HOME.
- `files`: one file, read by its exact path and replaced in one step.
- `folders`: a folder with a manifest of its files' hashes, replaced in one step.
- `locks`: one writer at a time.
- `array_cache`: rows of numbers that are computed once and looked up by a hash afterwards.
"""

"""The documentation of each task, shown in the task's details. This file defines no DAG.

What the task does, what its states mean, and what to do then.
"""

TASK_DOCS = {
    "wait_for_data": """
Asks `recsys freshness` every ten minutes whether the raw interactions of the run date have arrived: their newest event
is at most `generation.max_snapshot_age_hours` (24 if it is null) before 00:00 UTC of the run date. Between
checks the task is deferred and does not occupy a worker.

**Failed**: the data did not arrive in time; the message has the newest event and the age of the lists. The current
lists remain published. Restart the feed, then clear this task. To make lists from the data that has arrived, set the
Variable `recsys_on_late_data` to `continue` and clear this task.
""",
    "ingest": """
Reads the raw files, validates every row and writes a snapshot.

**Failed**: a file is missing or unreadable, too many rows were rejected, or (refused, exit code 3) too much of the last
snapshot is missing; the previous snapshot is still the current one. Fix the error in the log's last line, then clear
this task (Grid → task → Clear).
""",
    "train": """
Trains the models, measures them on the newest window, trains them again on all data and registers the result as
`challenger`.

**Failed**: the champion still serves. Fix the error in the log's last line, then clear this task. Fine-tuning that was
interrupted continues from its last checkpoint.
""",
    "evaluate": """
Prints the metrics of the training against baselines, by segment, and where candidates were lost. Read-only.

**Failed**: the challenger is registered but not promoted. Clear this task.
""",
    "report": """
Writes the HTML report of the training; the XCom `file` is its path, and it is attached to the MLflow run.

**Failed**: the challenger is registered but not promoted. Clear this task.
""",
    "promote": """
Compares the challenger with the champion on the same users and promotes it if it passes the gate.

**Success**: the challenger is now the champion, and `recsys_nightly` is triggered.
**Skipped**: the gate refused (exit code 3), or the version is already the champion. The XCom `reason` has the reason,
`recsys history` the numbers. The champion still serves; nothing to fix.
**Failed**: the champion still serves. Fix the error in the log's last line, then clear this task.
""",
    "plan_parts": """
Reads the Variable `recsys_shard_tasks`: the number of tasks that make lists at the same time.

**Failed**: the Variable is not a whole number. Correct it, then clear this task.
""",
    "make_part": """
Makes one part of the night's lists, in parallel with other tasks; `generate` publishes them.

**Skipped**: `recsys_shard_tasks` is not set, so `generate` makes all lists.
**Failed**: as for `generate`. Finished shards are kept; clear this task, or set `recsys_shard_tasks` to 1 and clear
`plan_parts`: `generate` makes the missing lists.
""",
    "generate": """
Makes the champion's lists for every active user and publishes them in one step. While a canary is running, its share of
the users gets the challenger's lists.

**Failed with `refused`** (exit code 3): a check refused the lists (too old a snapshot, too many fallback items, a
shifted score distribution …), or an older run date was published while readers follow a later one. If the message names
the challenger, `recsys canary --stop` ends the canary. **Failed with exit code 2**: an error, such as a full disk or a
database that does not answer. Either way readers still see the last published lists. Fix the error in the log's last
line, then clear this task: finished shards are kept, and only outputs without this night are filled.
""",
    "monitor": """
Compares tonight's data and lists with the last good nights; also after a failure, to find the cause.

**Success with an alert** (exit code 4): a figure is outside its normal range; the XCom `reason` has the causes, and the
XCom `page` the path of the page that explains them. Tonight's lists are published.
**Failed**: the night could not be checked; its lists are published. Fix the error in the log's last line, then clear
this task.
""",
    "request_training": """
Triggers `recsys_train` if the monitor recommends retraining.

**Skipped**: the monitor does not ask for it, or this run is a backfill or was started by a promotion.
**Failed**: trigger `recsys_train` by hand.
""",
    "prune": """
Deletes what is no longer needed, under the section `retention` of the config.

**Failed** is shown as skipped, and the run still succeeds: tonight's lists are published, and the alert has the reason.
Run `recsys prune --config FILE --dry-run` before the disk is full.
""",
}

"""The exception tree: everything that this project raises on purpose.

    RecsysError                 exit code 2
    ├── ConfigError             a configuration file or environment variable
    ├── DataError               raw data, or a table between two stages
    ├── ArtifactError           a snapshot, run, bundle or published folder on disk
    ├── CheckpointError         an encoder checkpoint
    ├── RegistryError           the tracking store or model registry
    ├── EngineError             the engine that runs shards or fits
    ├── Refused                 exit code 3: a gate or sanity check rejected the input
    └── Alert                   exit code 4: the monitor found a night that differs from the good nights before it

Every message names the object, what it is, what was expected and the next step. The command line prints the message
without a traceback and exits with `exit_code`.
"""

from __future__ import annotations


class RecsysError(Exception):
    """Root of the tree: an error of input, configuration or environment."""

    exit_code = 2


class ConfigError(RecsysError):
    """A configuration file or an environment variable is missing or invalid."""


class DataError(RecsysError):
    """Raw data, or a table between two stages, does not have the form that the stage needs."""


class ArtifactError(RecsysError):
    """A snapshot, run, bundle or published folder is missing, incomplete or changed on disk."""


class CheckpointError(RecsysError):
    """An encoder checkpoint cannot be found, read or trusted."""


class RegistryError(RecsysError):
    """The tracking store or the model registry lacks the requested version, run or file."""


class EngineError(RecsysError):
    """Work could not run on the configured engine: a worker died, or the cluster is not available."""


class Refused(RecsysError):  # noqa: N818 - a refusal is a result, not a failure
    """A gate or sanity check failed, or readers do not follow a night; what readers see is unchanged."""

    exit_code = 3


class Alert(RecsysError):  # noqa: N818 - an alert is a result, not a failure
    """A monitored night is not like the good nights before it; the message names the likely causes."""

    exit_code = 4

"""The exception tree: everything this project raises on purpose.

Every message names the object, what was found, what was expected and the next step. The command line
prints the message alone and leaves with `exit_code`.
"""

from __future__ import annotations


class RecsysError(Exception):
    """Root of the tree; an error of input, configuration or environment."""

    exit_code = 2


class ConfigError(RecsysError):
    """A configuration file or an environment variable is missing or wrong."""


class DataError(RecsysError):
    """Raw data, or a table between two stages, is not what the stage needs."""


class ArtifactError(RecsysError):
    """A snapshot, run, bundle or published folder is missing, incomplete or changed on disk."""


class CheckpointError(RecsysError):
    """An encoder checkpoint cannot be found, read or trusted."""


class RegistryError(RecsysError):
    """The tracking store or the model registry lacks what was asked for."""


class EngineError(RecsysError):
    """Work could not be run where the config wants it: a worker died, or a cluster is not there."""


class Refused(RecsysError):  # noqa: N818 - a refusal is an answer, not a failure
    """A gate or sanity check said no; the message says why. Nothing was changed."""

    exit_code = 3

"""The configuration: a frozen model per stage, read from a single YAML file that is complete on its own.

Model parameters are declared here and nowhere else; constructors take their section. Folders and secrets come from the
environment (`RECSYS_HOME`, `RECSYS_DATA`, `MLFLOW_TRACKING_URI`), never from a file.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from recsys.config.continuation import ContinuationConfig
from recsys.config.dataset import (
    DatasetConfig,
    DatasetSanityConfig,
    InteractionColumns,
    InteractionFiles,
    ItemColumns,
    ItemFiles,
    VectorFiles,
    WindowsConfig,
)
from recsys.config.engine import EngineConfig
from recsys.config.gate import GateConfig, GuardrailsConfig
from recsys.config.monitoring import LimitConfig, MonitoringConfig
from recsys.config.plugin_records import check_plugins, record_plugins
from recsys.config.plugins import SOURCES, Kind, as_value_error, find_vectors, load_modules, name_vector_source
from recsys.config.ranking import (
    AlsConfig,
    AttributesConfig,
    Bm25Config,
    BprConfig,
    CandidatesConfig,
    CollabConfig,
    EaseConfig,
    ItemToItemConfig,
    RankingConfig,
    TransitionsConfig,
    add_vector_sources,
)
from recsys.config.renames import find_renamed
from recsys.config.retention import RetentionConfig
from recsys.config.section import AUTO, Count, Section
from recsys.config.serving import (
    EvaluationConfig,
    GenerationConfig,
    RegistryConfig,
    RulesConfig,
    SanityConfig,
    SegmentsConfig,
)
from recsys.config.suggestions import suggest
from recsys.config.text import (
    AdaptationConfig,
    AdapterConfig,
    AugmentationConfig,
    DistillationConfig,
    FineTuneConfig,
    HardNegativesConfig,
    InterestConfig,
    ObjectivesConfig,
    OwnBertConfig,
    SequenceConfig,
    TextConfig,
    TfidfConfig,
    read_field,
)
from recsys.config.yaml_text import parse_yaml
from recsys.errors import ConfigError

__all__ = [
    "AUTO",
    "SOURCES",
    "AdaptationConfig",
    "AdapterConfig",
    "AlsConfig",
    "AttributesConfig",
    "AugmentationConfig",
    "Bm25Config",
    "BprConfig",
    "CandidatesConfig",
    "CollabConfig",
    "Config",
    "ContinuationConfig",
    "DatasetConfig",
    "DatasetSanityConfig",
    "DistillationConfig",
    "EaseConfig",
    "EngineConfig",
    "EvaluationConfig",
    "FineTuneConfig",
    "GateConfig",
    "GenerationConfig",
    "GuardrailsConfig",
    "HardNegativesConfig",
    "InteractionColumns",
    "InteractionFiles",
    "InterestConfig",
    "ItemColumns",
    "ItemFiles",
    "ItemToItemConfig",
    "LimitConfig",
    "MonitoringConfig",
    "ObjectivesConfig",
    "OwnBertConfig",
    "RankingConfig",
    "RegistryConfig",
    "RetentionConfig",
    "RulesConfig",
    "SanityConfig",
    "Section",
    "SegmentsConfig",
    "SequenceConfig",
    "TextConfig",
    "TfidfConfig",
    "TransitionsConfig",
    "VectorFiles",
    "WindowsConfig",
    "check_plugins",
    "data_path",
    "home",
    "load_config",
    "parse_config",
    "required_plugins",
]


class Config(Section):
    """One product: its data, its models and its lists."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
    """Name of the product; snapshots, runs and the registered model are named after it."""
    seed: Annotated[int, Field(ge=0, le=2_000_000_000)] = 0
    """Random seed."""
    threads: Count = 2
    """Number of threads per process, for all libraries."""
    plugins: tuple[str, ...] = ()
    """Python modules to import; they register plug-in sources, features or baselines."""
    dataset: DatasetConfig
    """The raw files."""
    windows: WindowsConfig
    """The split into fit, rerank and test."""
    text: TextConfig = TextConfig()
    """Item texts, encoder and interest models."""
    collab: CollabConfig = CollabConfig()
    """Collaborative-filtering models."""
    candidates: CandidatesConfig = CandidatesConfig()
    """Candidate sources."""
    ranking: RankingConfig = RankingConfig()
    """The LightGBM ranker."""
    continuation: ContinuationConfig = ContinuationConfig()
    """Trainings that continue from an earlier one."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """Metrics, intervals and segments."""
    registry: RegistryConfig = RegistryConfig()
    """Names in MLflow, and the promotion gate."""
    generation: GenerationConfig = GenerationConfig()
    """The nightly lists."""
    monitoring: MonitoringConfig = MonitoringConfig()
    """What each night is compared with, and when it causes an alert."""
    retention: RetentionConfig = RetentionConfig()
    """What `recsys prune` keeps."""

    @model_validator(mode="before")
    @classmethod
    def _add_vector_sources(cls, content: Any) -> Any:
        return add_vector_sources(content)

    @field_validator("plugins")
    @classmethod
    def _import_plugins(cls, modules: tuple[str, ...]) -> tuple[str, ...]:
        with as_value_error():
            load_modules(modules)
        return modules

    @model_validator(mode="after")
    def _stages_agree(self) -> Self:
        has_times = self.dataset.interactions.columns.time is not None
        has_order = has_times or self.dataset.interactions.columns.order is not None
        if self.windows.protocol == "global_time" and not has_times:
            raise ValueError("windows.protocol global_time needs dataset.interactions.columns.time")
        if self.windows.protocol == "leave_last_out" and not has_order:
            raise ValueError("windows.protocol leave_last_out needs a time or an order column")
        if "repeat" in self.candidates.depths and not self.dataset.repeats:
            raise ValueError("candidates.depths has 'repeat', but dataset.repeats is false")
        known = {"title", "description", "tags", *self.dataset.items.attributes}
        unknown = sorted({column for field in self.text.fields for column in read_field(field)[1]} - known)
        if unknown:
            raise ValueError(f"text.fields {unknown} are not item columns; known: {', '.join(sorted(known))}")
        columns = {"tags", *self.dataset.items.attributes}
        lacking = sorted(set(self.evaluation.segments.item_columns) - columns)
        if lacking:
            raise ValueError(
                f"evaluation.segments.item_columns {lacking} are neither tags nor attributes of dataset.items; "
                f"known: {', '.join(sorted(columns))}"
            )
        if self.candidates.segment_column not in {None, *columns}:
            raise ValueError(
                f"candidates.segment_column '{self.candidates.segment_column}' is neither tags nor an attribute of "
                f"dataset.items; known: {', '.join(sorted(columns))}"
            )
        ruled = sorted(set(self.generation.rules.max_per_value) - columns)
        if ruled:
            raise ValueError(
                f"generation.rules.max_per_value {ruled} are neither tags nor attributes of dataset.items; "
                f"known: {', '.join(sorted(columns))}"
            )
        own = {name_vector_source(name) for name in self.dataset.items.vectors}
        absent = [name for name in self.candidates.depths if find_vectors(name) and name not in own]
        if absent:
            sources = ", ".join((*SOURCES, *sorted(own)))
            raise ValueError(
                f"candidates.depths has '{absent[0]}', but dataset.items.vectors has no '{find_vectors(absent[0])}'; "
                f"sources are {sources}"
            )
        if self.generation.active_days is not None and not has_times:
            raise ValueError("generation.active_days needs dataset.interactions.columns.time")
        return self

    @property
    def model_name(self) -> str:
        """Name of the registered model."""
        return self.registry.model_name or self.name

    @property
    def experiment(self) -> str:
        """Name of the MLflow experiment."""
        return self.registry.experiment or self.name

    def resolved(self) -> dict[str, Any]:
        """Return every setting, defaults included, as plain JSON values."""
        return self.model_dump(mode="json")

    def flatten(self) -> list[tuple[str, Any]]:
        """Return every setting as (dotted path, plain value), in the order of the file."""
        return _flatten(self.resolved(), "")

    def digest(self) -> str:
        """Return the SHA-256 of the resolved settings, 12 hexadecimal digits."""
        text = json.dumps(self.resolved(), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def _flatten(content: dict[str, Any], prefix: str) -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in content.items():
        rows += _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else [(prefix + key, value)]
    return rows


def load_config(path: Path | str) -> Config:
    """Read and validate a configuration file.

    Raises:
        ConfigError: the file does not exist, is not YAML, or has invalid settings; names each of them.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"config {path}: cannot be read ({error.strerror}); set --config to an existing file"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"config {path}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    try:
        content = parse_yaml(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"config {path}: is not valid YAML: {error}; fix that line") from error
    if not isinstance(content, dict):
        actual = "is empty" if content is None else f"is a {type(content).__name__}"
        raise ConfigError(f"config {path}: {actual}, expected sections such as 'dataset:'; see configs/demo.yaml")
    return parse_config(content, str(path))


def parse_config(content: dict[str, Any], where: str) -> Config:
    """Validate settings that are already in memory; `where` names their origin in the message.

    Raises:
        ConfigError: names every setting that is invalid, unknown or has an old name.
    """
    lines, current = find_renamed(content)
    try:
        config = Config.model_validate(current)
    except ValidationError as error:
        lines += [
            f"{'.'.join(map(str, detail['loc'])) or 'config'}: {detail['msg'].removeprefix('Value error, ')}"
            + (suggest(Config, detail["loc"]) if detail["type"] == "extra_forbidden" else "")
            for detail in error.errors()
        ]
    if lines:
        invalid = f"{len(lines)} invalid setting{'s' * (len(lines) > 1)}"
        raise ConfigError(f"config {where}: {invalid}; fix and run again:" + "".join(f"\n  {line}" for line in lines))
    return config


def required_plugins(config: Config) -> list[dict[str, str]]:
    """Return a row for each plug-in module and class that the config needs; see `record_plugins`."""
    used: list[tuple[Kind, str]] = [("source", name) for name in config.candidates.options]
    used += [("feature", name) for name in config.ranking.extra_features]
    used += [("baseline", name) for name in config.evaluation.extra_baselines]
    return record_plugins(config.plugins, used)


def home() -> Path:
    """Return the folder that everything is written to (`RECSYS_HOME`, default `./data/home`), absolute."""
    return Path(os.environ.get("RECSYS_HOME") or "data/home").expanduser().resolve()


def data_path(path: str) -> Path:
    """Return a raw-data path of a config, relative ones starting from `RECSYS_DATA` (default `.`), absolute."""
    return Path(os.environ.get("RECSYS_DATA") or ".").expanduser().resolve() / Path(path).expanduser()

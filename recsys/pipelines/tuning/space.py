"""The search space: a file of settings with their ranges."""

from __future__ import annotations

import difflib
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from recsys.config import Config, Section
from recsys.config.overrides import apply_settings
from recsys.config.yaml_text import parse_yaml
from recsys.errors import ConfigError
from recsys.progress import format_count

# The other sections decide what is measured and how, so values of them could not be compared.
SEARCHABLE = ("text", "collab", "candidates", "ranking")

# Significant digits of drawn numbers, so that the winner's config is readable.
_DIGITS = 4


def _read_number(value: object) -> object:
    """Parse numbers such as `1e-4`, which YAML 1.1 reads as text."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return value
    if isinstance(value, bool) or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(f"is {value}, expected a number")
    return value


Number = Annotated[int | float, BeforeValidator(_read_number)]


class Range(BaseModel):
    """All numbers from low to high, both included; integers only if low, high and step are integers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    low: Number
    high: Number
    # Only low, low + step, low + 2 step, … up to high.
    step: Number | None = None
    # Draw evenly on the logarithmic scale.
    log: bool = False

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}; swap them")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("log needs low above 0 and no step")
        if self.step is not None:
            if self.step <= 0:
                raise ValueError(f"step is {self.step}, expected a number above 0")
            low, high, step = (Decimal(str(number)) for number in (self.low, self.high, self.step))
            if (high - low) % step:
                reachable = high - (high - low) % step
                raise ValueError(f"high {high} cannot be reached from {low} in steps of {step}; write {reachable}")
        return self

    @property
    def whole(self) -> bool:
        """Only integers are drawn."""
        return not any(isinstance(number, float) for number in (self.low, self.high, self.step))

    def holds(self, value: object) -> bool:
        """Return whether this value could be drawn."""
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float):
            return False
        on_grid = self.step is None or not (Decimal(str(value)) - Decimal(str(self.low))) % Decimal(str(self.step))
        return self.low <= value <= self.high and on_grid

    def round(self, value: float) -> int | float:
        """Return a drawn number, rounded as it is tried."""
        if self.whole:
            return int(value)
        return min(max(float(f"{value:.{_DIGITS}g}"), float(self.low)), float(self.high))

    def probes(self) -> list[Any]:
        """Return values to validate: both ends and, unless only integers are drawn, a fraction between them."""
        if self.whole:
            return [self.low, self.high]
        between = self.low + (self.step or (self.high - self.low) / math.pi)
        return [self.low, self.high, self.round(min(between, self.high))]


class Choices(BaseModel):
    """One of the listed values."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    choices: Annotated[tuple[Any, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if len(set(self.labels)) < len(self.choices):
            raise ValueError("a choice is listed twice; keep one")
        return self

    @property
    def labels(self) -> list[str]:
        """The choices as JSON, as the search stores them: a choice may be a list or a mapping."""
        return [json.dumps(choice, ensure_ascii=False, sort_keys=True) for choice in self.choices]

    def holds(self, value: object) -> bool:
        """Return whether this value could be drawn."""
        return json.dumps(value, ensure_ascii=False, sort_keys=True) in self.labels

    def probes(self) -> list[Any]:
        """Return values to validate: every choice."""
        return list(self.choices)


@dataclass(frozen=True)
class Space:
    """Dotted config path -> range or choices, in the order of the file."""

    settings: dict[str, Range | Choices]

    def digest(self) -> str:
        """Return the SHA-256 of the space, 12 hexadecimal digits."""
        content = [[path, setting.model_dump(mode="json")] for path, setting in self.settings.items()]
        return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()[:12]


def read_space(path: Path, config: Config) -> Space:
    """Read a search space and validate the ends of every range with the config.

    Raises:
        ConfigError: no such file, not YAML, or settings that cannot be searched; each is named.
    """
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"space {path}: cannot be read ({error}); set --space to an existing UTF-8 file") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"space {path}: is not valid YAML: {error}; fix that line") from error
    if not isinstance(content, dict) or not content:
        raise ConfigError(
            f"space {path}: expected settings with ranges, such as 'collab.als.epochs: {{low: 5, high: 30}}'; "
            "see configs/spaces/demo.yaml"
        )
    settings: dict[str, Range | Choices] = {}
    wrong: list[str] = []
    for name, written in content.items():
        try:
            settings[str(name)] = _read_setting(str(name), written, config)
            _refuse_overlap(str(name), settings)
        except ConfigError as error:
            wrong.append(f"  {name}: {error}")
    if wrong:
        count = format_count(len(wrong), "invalid setting")
        raise ConfigError(f"space {path}: {count}; fix and run again:\n" + "\n".join(wrong))
    return Space(settings)


def _read_setting(path: str, written: object, config: Config) -> Range | Choices:
    _check_exists(config, path)
    if not isinstance(written, dict):
        raise ConfigError(f"found {written!r}, expected {{low: …, high: …}} or {{choices: […]}}")
    try:
        setting = (Choices if "choices" in written else Range).model_validate(written)
    except ValidationError as error:
        lines = [f"{fault['loc'][0]}: {fault['msg']}" if fault["loc"] else fault["msg"] for fault in error.errors()]
        raise ConfigError("; ".join(dict.fromkeys(line.replace("Value error, ", "") for line in lines))) from error
    for value in setting.probes():
        try:
            apply_settings(config, {path: value})
        except ConfigError as error:
            reason = str(error).split("\n  ")[-1]
            raise ConfigError(f"the config refuses {value!r}: {reason}") from error
    return setting


def _refuse_overlap(path: str, settings: Mapping[str, object]) -> None:
    for other in settings:
        if path != other and (path.startswith(f"{other}.") or other.startswith(f"{path}.")):
            raise ConfigError(f"overlaps with {other}; search only one of them")


def _check_exists(config: Config, path: str) -> None:
    value: Any = config
    parts = path.split(".")
    if parts[0] not in SEARCHABLE:
        raise ConfigError(
            f"is not below {', '.join(SEARCHABLE[:-1])} or {SEARCHABLE[-1]}; the other sections define the measurement"
        )
    for number, part in enumerate(parts):
        if not isinstance(value, Section):
            if not isinstance(value, dict) or number < len(parts) - 1:
                raise ConfigError(f"{'.'.join(parts[:number])} is a value, not a section")
            return
        known = list(type(value).model_fields)
        if part not in known:
            close = difflib.get_close_matches(part, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"
            raise ConfigError(f"the config has no setting {'.'.join(parts[: number + 1])}; {hint}")
        value = getattr(value, part)

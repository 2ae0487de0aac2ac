"""The configuration: one frozen model per stage, read from one YAML file that is complete on its own.

Model parameters are declared here and nowhere else; constructors take their section. Places and secrets come
from the environment (`RECSYS_HOME`, `RECSYS_DATA`, `MLFLOW_TRACKING_URI`), never from a file.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from recsys.errors import ConfigError

Share = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveShare = Annotated[float, Field(gt=0.0, lt=1.0)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """Base of every section: no unknown keys, no change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# --- dataset ---------------------------------------------------------------------------------------------


class ItemColumns(Section):
    """Raw column of each item field; a dot reaches into nested JSON (`meta.authors`)."""

    item_id: str = "item_id"
    title: str = "title"
    description: str | None = None
    tags: str | None = None
    available: str | None = None
    created_at: str | None = None


class ItemFiles(Section):
    """Where the raw items lie and how they read."""

    path: str
    columns: ItemColumns = ItemColumns()
    # Further columns to keep: name in our tables -> raw column.
    attributes: dict[str, str] = {}
    # Splits a tags text such as "drama|war"; a real list needs none.
    tags_separator: Annotated[str, Field(min_length=1)] = ","

    @model_validator(mode="after")
    def _attributes_do_not_shadow(self) -> Self:
        taken = sorted(set(self.attributes) & set(ItemColumns.model_fields))
        if taken:
            raise ValueError(f"attributes {taken} have the names of item columns; choose other names")
        return self


class InteractionColumns(Section):
    """Raw column of each interaction field. Give `time`, or `order`, or neither."""

    user_id: str = "user_id"
    item_id: str = "item_id"
    time: str | None = None
    order: str | None = None
    event: str | None = None
    value: str | None = None


class InteractionFiles(Section):
    """Where the raw interactions lie and how they read."""

    path: str
    columns: InteractionColumns = InteractionColumns()
    time_format: Literal["seconds", "milliseconds", "iso", "date"] = "iso"
    # Zone of times that carry none of their own.
    time_zone: str = "UTC"
    # Rows earlier than this are rejected (some exports write 1970 or 1980 for "unknown").
    earliest_time: AwareDatetime | None = None
    # Event kinds and their weights; a kind that is not listed is rejected. Without an event column every row is
    # the first kind listed.
    event_weights: dict[str, Annotated[float, Field(gt=0)]] = Field(default={"interaction": 1.0}, min_length=1)
    # Kinds the lists should predict; None: all of them.
    positive_events: tuple[str, ...] | None = None
    # Values from this one on are positive; a row without a value is positive.
    positive_value: float | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.columns.time and self.columns.order:
            raise ValueError("columns.time and columns.order are both given; keep the one that says what came first")
        unknown = sorted(set(self.positive_events or ()) - set(self.event_weights))
        if unknown:
            raise ValueError(f"positive_events {unknown} are not in event_weights {sorted(self.event_weights)}")
        return self


class DatasetConfig(Section):
    """Raw files, what they mean, and how many bad rows are bearable."""

    items: ItemFiles
    interactions: InteractionFiles
    # May the lists hold what the user already has?
    repeats: bool = False
    # `ingest` stops when more than this share of a table's rows is rejected.
    max_rejected_share: Share = 0.05


# --- windows ---------------------------------------------------------------------------------------------


class WindowsConfig(Section):
    """How interactions split into fit < rerank < test."""

    protocol: Literal["global_time", "leave_last_out", "random", "cold_items", "holdout_file"] = "global_time"
    # global_time: length of the test window and of each label window; exactly one of the two.
    test_days: Annotated[float, Field(gt=0, le=36_500)] | None = None
    test_share: PositiveShare | None = None
    # random, cold_items: share of pairs (of items) that goes to test; another such share goes to rerank.
    holdout_share: PositiveShare = 0.2
    # holdout_file: a table of test pairs with the raw user and item columns of the interactions.
    holdout_path: str | None = None
    # How many label windows the ranker learns from, newest first (global_time, leave_last_out).
    label_windows: Annotated[int, Field(ge=1, le=8)] = 1

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.protocol == "global_time" and (self.test_days is None) == (self.test_share is None):
            raise ValueError("protocol global_time needs exactly one of test_days and test_share")
        if self.protocol == "holdout_file" and not self.holdout_path:
            raise ValueError("protocol holdout_file needs holdout_path")
        if self.protocol not in ("global_time", "leave_last_out") and self.label_windows != 1:
            raise ValueError(f"label_windows must be 1 with protocol {self.protocol}")
        return self


# --- text ------------------------------------------------------------------------------------------------


class FineTuneConfig(Section):
    """Contrastive training of the encoder's last layers on items that the same users took."""

    # 0 leaves the checkpoint as it is.
    epochs: Annotated[int, Field(ge=0)] = 1
    # An epoch is at most this many batches, so that a large data set cannot take the night.
    max_steps_per_epoch: Count = 100
    # Pairs (item, a later item of the same user) in a batch.
    batch_size: Annotated[int, Field(ge=2)] = 96
    # Last transformer layers that learn; the layers below run once per text.
    trainable_layers: Annotated[int, Field(ge=1)] = 1
    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    warmup_share: Share = 0.1
    temperature: Annotated[float, Field(gt=0)] = 0.05
    # How far apart in a history the two items of a pair may stand.
    max_distance: Count = 5


class InterestConfig(Section):
    """The interest head: linear residual maps over item vectors, trained by full softmax over the catalogue."""

    epochs: Annotated[int, Field(ge=0)] = 4
    batch_size: Count = 256
    # Training examples drawn per epoch at most.
    max_examples: Count = 50_000
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    temperature: Annotated[float, Field(gt=0)] = 0.05
    # The newest items of a history that make the user vector, each step back weighing this much less.
    history_length: Count = 50
    history_decay: Annotated[float, Field(gt=0, le=1)] = 0.9


class SequenceConfig(Section):
    """The order-aware model: a small causal transformer over item vectors. Fitted where `depths` names `sequence`."""

    # Passes over the histories; fewer where they would take more than `max_steps` batches.
    epochs: Count = 20
    max_steps: Count = 1500
    # Users in a batch.
    batch_size: Count = 64
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    # Length of the vectors, and of what the transformer has.
    size: Annotated[int, Field(ge=2)] = 64
    layers: Count = 2
    heads: Count = 2
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    # Share of the items that lose their own residual in a step, so that the text alone must do.
    residual_dropout: Annotated[float, Field(ge=0, le=1)] = 0.1
    # Newest items of a history that are looked at.
    history_length: Annotated[int, Field(ge=2)] = 100
    # Items drawn per step against which every next item has to stand.
    negatives: Count = 256

    @model_validator(mode="after")
    def _heads_share_the_size(self) -> Self:
        if self.size % self.heads:
            raise ValueError(f"size is {self.size}, which {self.heads} heads cannot share evenly")
        return self


class TfidfConfig(Section):
    """Nearest items by the words they share; a user's history is weighted by recency."""

    # A term is a run of up to this many words, or characters in scripts without spaces.
    max_words: Annotated[int, Field(ge=1, le=5)] = 2
    # Terms that more than this share of the items have are left out: they tell nothing and cost most.
    max_share: Annotated[float, Field(gt=0, le=1)] = 0.1
    k: Count = 200
    history_decay: Annotated[float, Field(gt=0, le=1)] = 0.9


class TextConfig(Section):
    """Item text, the encoder, the interest model and TF-IDF neighbours."""

    # Installed package name, folder, or hub name of a BERT-family checkpoint.
    checkpoint: str = "all-MiniLM-L6-v2"
    # Item columns that make the text, in this order; attributes are allowed.
    fields: Annotated[tuple[str, ...], Field(min_length=1)] = ("title", "tags", "description")
    max_tokens: Annotated[int, Field(ge=8, le=512)] = 64
    # auto: bfloat16 where the processor or GPU has it, else float32.
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    # Tokens in one encoder batch, padding included.
    batch_tokens: Annotated[int, Field(ge=512)] = 8192
    fine_tune: FineTuneConfig = FineTuneConfig()
    interest: InterestConfig = InterestConfig()
    sequence: SequenceConfig = SequenceConfig()
    tfidf: TfidfConfig = TfidfConfig()


# --- collab, candidates, ranking ---------------------------------------------------------------------------


class AlsConfig(Section):
    """implicit's alternating least squares (Hu, Koren, Volinsky 2008)."""

    embedding_size: Count = 64
    regularization: Annotated[float, Field(gt=0)] = 0.05
    alpha: Annotated[float, Field(gt=0)] = 5.0
    epochs: Count = 15


class ItemToItemConfig(Section):
    """implicit's item-to-item neighbours; a user's history is weighted by recency."""

    weighting: Literal["cosine", "bm25", "tfidf"] = "cosine"
    k: Count = 200
    history_decay: Annotated[float, Field(gt=0, le=1)] = 0.9


class TransitionsConfig(Section):
    """What follows what: decayed counts of ordered pairs inside a history."""

    max_distance: Count = 10
    distance_decay: Annotated[float, Field(gt=0, le=1)] = 0.7
    k: Count = 200
    history_decay: Annotated[float, Field(gt=0, le=1)] = 0.7


class EaseConfig(Section):
    """EASE: each item predicted from all others by ridge regression (Steck 2019)."""

    # In users: the larger, the more an item's evidence must be shared. Below 1 float32 would not hold.
    regularization: Annotated[float, Field(ge=1)] = 200.0
    # Entries kept per predicted item, the strongest by magnitude.
    k: Count = 300
    # Above so many touched items it is not fitted: time grows with their cube, memory with their square. 0: never.
    max_items: Annotated[int, Field(ge=0)] = 12_000
    history_decay: Annotated[float, Field(gt=0, le=1)] = 1.0


class CollabConfig(Section):
    """Collaborative-filtering models."""

    als: AlsConfig = AlsConfig()
    item_to_item: ItemToItemConfig = ItemToItemConfig()
    transitions: TransitionsConfig = TransitionsConfig()
    ease: EaseConfig = EaseConfig()


SOURCES = ("als", "item_to_item", "transitions", "ease", "sequence", "tfidf", "text", "popular", "new_items", "repeat")


class CandidatesConfig(Section):
    """Which sources propose items, and how many each."""

    # Source -> its depth: how many items it proposes per user. A source that is not named is off.
    depths: dict[str, Annotated[int, Field(ge=1, le=1000)]] = {
        "als": 50,
        "item_to_item": 50,
        "transitions": 50,
        "ease": 50,
        "tfidf": 50,
        "text": 50,
        "popular": 50,
        "new_items": 20,
    }
    # Candidates per user that the union is cut to, by reciprocal-rank fusion of the sources; None: no cut.
    at_most: Count | None = None
    # Half-life of an interaction in the recent popularity; None: all times count the same.
    popularity_half_life_days: Annotated[float, Field(gt=0)] | None = 30.0
    # An item that at most this many users touched is new.
    new_item_users: Annotated[int, Field(ge=0)] = 3

    @model_validator(mode="after")
    def _known_sources(self) -> Self:
        unknown = sorted(set(self.depths) - set(SOURCES))
        if unknown:
            raise ValueError(f"depths: no source {unknown}; sources are {', '.join(SOURCES)}")
        if not self.depths:
            raise ValueError(f"depths is empty; name at least one of {', '.join(SOURCES)}")
        return self


class RankingConfig(Section):
    """LightGBM LambdaMART over the candidates."""

    learning_rate: Annotated[float, Field(gt=0)] = 0.05
    num_leaves: Annotated[int, Field(ge=2)] = 31
    min_data_in_leaf: Count = 50
    feature_fraction: Annotated[float, Field(gt=0, le=1)] = 0.7
    lambda_l2: Annotated[float, Field(ge=0)] = 1.0
    truncation_level: Count = 30
    max_trees: Count = 300
    # Early stopping waits this many trees on groups held out for it.
    patience: Count = 30
    validation_share: PositiveShare = 0.2
    # Below this many groups with a positive early stopping is noise: a fixed count of trees instead.
    min_groups_for_early_stopping: Count = 300
    fixed_trees: Count = 60
    # Users of each label window that the ranker learns from at most, drawn at random; memory follows it.
    max_users: Count = 5_000
    # Share of each group's negatives that the ranker learns from.
    negative_share: Annotated[float, Field(gt=0, le=1)] = 1.0


# --- evaluation, registry, generation --------------------------------------------------------------------------


class SegmentsConfig(Section):
    """The cuts that a measurement is repeated for."""

    # A user with at most this many distinct items before the window is new; with more than the second number, heavy;
    # in between, light.
    new_user_items: Count = 5
    heavy_user_items: Count = 20
    # An item that at most this many users touched before the window is cold.
    cold_item_users: Annotated[int, Field(ge=0)] = 0
    # Item columns whose values are segments: `tags` or attributes of the dataset section.
    item_columns: tuple[str, ...] = ()
    # Values of such a column that get a row of their own, those with most positives first.
    max_values: Count = 8
    # Fewer users say nothing; their rows are marked.
    min_users: Count = 30

    @model_validator(mode="after")
    def _light_lies_between(self) -> Self:
        if self.heavy_user_items < self.new_user_items:
            raise ValueError(f"heavy_user_items is {self.heavy_user_items}, below new_user_items {self.new_user_items}")
        return self


class EvaluationConfig(Section):
    """What is measured and how sure we must be."""

    n_values: Annotated[tuple[Count, ...], Field(min_length=1)] = (5, 10, 20)
    bootstrap_samples: Annotated[int, Field(ge=100)] = 1000
    confidence: PositiveShare = 0.95
    # The number that models are compared by.
    metric: Literal["ndcg", "recall", "precision", "f1", "mrr", "map", "hit_rate"] = "ndcg"
    n: Count = 10
    # Popularity-corrected recall weighs each positive by the item's users to minus this power; 0 is plain recall.
    propensity_power: Annotated[float, Field(ge=0, le=2)] = 0.5
    segments: SegmentsConfig = SegmentsConfig()

    @model_validator(mode="after")
    def _n_is_measured(self) -> Self:
        if self.n not in self.n_values:
            raise ValueError(f"n is {self.n}, which is not in n_values {list(self.n_values)}")
        return self


class RegistryConfig(Section):
    """Names in MLflow, and the gate."""

    # Names in MLflow; None: the config's name. MLflow takes no / : and quotes in a model's name.
    model_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]*$")] | None = None
    experiment: Annotated[str, Field(min_length=1)] | None = None
    # The challenger may lose at most this share of the champion's metric, at the interval's low end.
    max_relative_loss: Share = 0.05


class GenerationConfig(Section):
    """The nightly lists."""

    n: Count = 10
    # Users in one shard; memory follows it.
    shard_size: Count = 5_000
    # Users whose last interaction is older get no list; None: everyone with a history.
    active_days: Annotated[float, Field(gt=0)] | None = None
    # Published run dates kept, newest first; the one the pointer names always stays.
    keep_run_dates: Count = 30


class Config(Section):
    """One product: its data, its models and its lists."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
    # Stages count up from it; the generators take 32 bits.
    seed: Annotated[int, Field(ge=0, le=2_000_000_000)] = 0
    threads: Count = 2
    dataset: DatasetConfig
    windows: WindowsConfig
    text: TextConfig = TextConfig()
    collab: CollabConfig = CollabConfig()
    candidates: CandidatesConfig = CandidatesConfig()
    ranking: RankingConfig = RankingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    registry: RegistryConfig = RegistryConfig()
    generation: GenerationConfig = GenerationConfig()

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
        unknown = sorted(set(self.text.fields) - known)
        if unknown:
            raise ValueError(f"text.fields {unknown} are not item columns; known: {', '.join(sorted(known))}")
        lacking = sorted(set(self.evaluation.segments.item_columns) - {"tags", *self.dataset.items.attributes})
        if lacking:
            raise ValueError(
                f"evaluation.segments.item_columns {lacking} are neither tags nor attributes of dataset.items; "
                f"known: {', '.join(sorted({'tags', *self.dataset.items.attributes}))}"
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
        ConfigError: no such file, not YAML, or settings that do not fit; names each of them.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"config {path}: cannot be read ({error.strerror}); give --config an existing file"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"config {path}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"config {path}: is not valid YAML: {error}; mend that line") from error
    if not isinstance(content, dict):
        found = "is empty" if content is None else f"is a {type(content).__name__}"
        raise ConfigError(f"config {path}: {found}, expected sections such as 'dataset:'; see configs/demo.yaml")
    return parse_config(content, str(path))


def parse_config(content: dict[str, Any], where: str) -> Config:
    """Validate settings that are already in memory; `where` names their origin in the message."""
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        lines = [
            f"  {'.'.join(map(str, one['loc'])) or 'config'}: {one['msg'].removeprefix('Value error, ')}"
            for one in error.errors()
        ]
        count = f"{len(lines)} setting{'s' * (len(lines) > 1)}"
        raise ConfigError(
            f"config {where}: {count} not as expected; mend and run again:\n" + "\n".join(lines)
        ) from error


def home() -> Path:
    """Return the one folder everything is written to (`RECSYS_HOME`, default `./data/home`), absolute."""
    return Path(os.environ.get("RECSYS_HOME") or "data/home").expanduser().resolve()


def data_path(path: str) -> Path:
    """Return a raw-data path of a config, relative ones starting from `RECSYS_DATA` (default `.`), absolute."""
    return Path(os.environ.get("RECSYS_DATA") or ".").expanduser().resolve() / Path(path).expanduser()

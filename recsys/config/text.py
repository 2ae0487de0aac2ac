"""Settings of the models of texts: encoder, interest model, TF-IDF neighbours."""

from __future__ import annotations

from string import Formatter
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from recsys.config.section import Count, DecayingSection, PositiveShare, Section, Share


def read_field(field: str) -> tuple[list[str], list[str]]:
    """Parse a field of the item text: the literal text around its columns, and the columns.

    A field with a `{` is a phrase around columns, such as `by {author}`, literal braces doubled as in `str.format`;
    any other field is the name of a column.

    Returns:
        The texts before each column and after the last, some of them empty; and the columns in their order, at least
        one.

    Raises:
        ValueError: a brace without its partner, a column without a name, a conversion or a format, or no column.
    """
    if "{" not in field:
        return ["", ""], [field]
    words: list[str] = [""]
    columns: list[str] = []
    try:
        for literal, column, form, conversion in Formatter().parse(field):
            words[-1] += literal
            if column is None:
                continue
            if not column or form or conversion:
                raise ValueError("braces hold the name of a column and nothing else")
            columns.append(column)
            words.append("")
        if not columns:
            raise ValueError("it names no column")
    except ValueError as error:
        raise ValueError(
            f"{field!r} is not a phrase: {error}; write it as 'by {{author}}', and double a brace that is meant as such"
        ) from error
    return words, columns


class ObjectivesConfig(Section):
    """What fine-tuning learns, each objective with its weight in the sum; 0 leaves it out."""

    next_item: Annotated[float, Field(ge=0)] = 0.0
    """Weight of: given the history so far, which item came next?"""
    co_interaction: Annotated[float, Field(ge=0)] = 1.0
    """Weight of: given an item, which other item did the same user interact with near it?"""
    cf_alignment: Annotated[float, Field(ge=0)] = 0.0
    """Weight of: text vectors match the collaborative factors of their items, through a learned map."""


class HardNegativesConfig(Section):
    """Negatives near a target, in addition to those of the batch; how many of each kind per target."""

    als: Annotated[int, Field(ge=0)] = 0
    """Negatives per target that are nearest by collaborative factors."""
    text: Annotated[int, Field(ge=0)] = 0
    """Negatives per target that are nearest by text, selected again in each epoch."""


class AugmentationConfig(Section):
    """What is hidden of a text in training; chances per token or per text."""

    token_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Chance that a token is hidden."""
    field_dropout: Share = 0.0
    """Chance that a whole field of a text is hidden."""
    span_crop: Share = 0.0
    """Chance that only a contiguous span of a text is kept, at least half of it."""


class AdapterConfig(Section):
    """LoRA (Hu et al. 2022) and AdaLoRA (Zhang et al. 2023): low-rank changes of the attention's maps."""

    rank: Count = 8
    """Rank of the added matrices."""
    alpha: Annotated[float, Field(gt=0)] = 16.0
    """Their scale, divided by the rank."""


class FineTuneConfig(Section):
    """Training of the encoder on items that the same users interacted with.

    A step encodes `batch_size` items; every other item is represented by the vector it last had (a memory, as in Wang
    et al. 2020, arXiv 1912.06798), so a step learns from many histories and against the whole catalogue.
    """

    epochs: Annotated[int, Field(ge=0)] = 1
    """Passes over the items with interactions; 0: the checkpoint is used as it is."""
    max_steps_per_epoch: Count = 100
    """Largest number of batches in an epoch, so that a large catalogue does not take all night."""
    draw: Literal["items", "interactions"] = "interactions"
    """items: every item with interactions once per epoch. interactions: items in proportion to their interactions."""
    batch_size: Annotated[int, Field(ge=2)] = 128
    """Items encoded per step."""
    examples_per_item: Count = 8
    """Histories that a step uses for each of its items (draw: items)."""
    objectives: ObjectivesConfig = ObjectivesConfig()
    """What is learned, with weights; 0 leaves an objective out."""
    negatives: Literal["catalogue", "batch"] = "batch"
    """batch: the other items of the batch are the negatives. catalogue: all items with interactions are, with the
    vectors of their last encoding."""
    max_negatives: Count = 8192
    """Largest number of negatives per step, drawn at random (negatives: catalogue)."""
    log_q: bool = False
    """Correct for how often an item is drawn as a negative (negatives: batch, draw: interactions)."""
    hard_negatives: HardNegativesConfig = HardNegativesConfig()
    """Further negatives near the target."""
    temperature: Annotated[float, Field(gt=0)] = 0.05
    """Divides cosines in the softmax."""
    history_length: Count = 50
    """Number of a history's newest items that make the user vector."""
    history_decay: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Weight of an item in the user vector relative to the next newer one."""
    max_distance: Count = 5
    """Largest distance in a history between the two items of co_interaction."""
    event_weights: bool = False
    """Weigh examples by the weights of their events."""
    augmentation: AugmentationConfig = AugmentationConfig()
    """What is hidden of a text in training."""
    adversarial: Annotated[float, Field(ge=0)] = 0.0
    """Length of the step against the gradient on the hidden states, per text (FGM, Miyato et al. 2017); 0: off."""
    method: Literal["layers", "full", "lora", "adalora"] = "layers"
    """layers: the last trainable_layers, while the layers below run once per text. full: all layers and word vectors.
    lora, adalora: low-rank changes in the last trainable_layers."""
    trainable_layers: Annotated[int, Field(ge=1)] = 1
    """Number of layers that change."""
    adapter: AdapterConfig = AdapterConfig()
    """Shape of lora and adalora."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    """Learning rate of the top layer."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Learning rate of a layer relative to the layer above it."""
    head_learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    """Learning rate of the maps that start untrained."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Weight decay of AdamW."""
    warmup_share: Share = 0.1
    """Share of the steps in which the learning rate rises from 0."""
    max_gradient_norm: Annotated[float, Field(gt=0)] = 1.0
    """Gradients with a larger norm are scaled down to it."""
    accumulation: Count = 1
    """Batches whose gradients make a step of the optimiser."""
    validation_share: Share = 0.0
    """Share of the users whose newest item is held out to select the best epoch by recall; 0: the last epoch."""
    validation_n: Count = 20
    """List length of that recall."""
    patience: Count = 2
    """Epochs without a better recall after which training stops."""
    checkpoint_steps: Annotated[int, Field(ge=0)] = 50
    """Steps between two checkpoints from which a killed training continues; 0: none."""

    @model_validator(mode="after")
    def _something_to_learn(self) -> Self:
        if not any(self.objectives.model_dump().values()):
            raise ValueError("objectives are all 0; give one of them a weight, or set epochs: 0")
        if self.negatives == "catalogue" and (self.hard_negatives.als or self.hard_negatives.text):
            raise ValueError("hard_negatives need negatives: batch; with catalogue all items are negatives already")
        return self


class OwnBertConfig(Section):
    """A BERT trained on the catalogue: a WordPiece vocabulary of its words, random initial weights."""

    vocabulary_size: Annotated[int, Field(ge=100)] = 8_000
    """Size of the WordPiece vocabulary."""
    layers: Count = 4
    """Transformer layers."""
    embedding_size: Annotated[int, Field(ge=8)] = 256
    """Size of the hidden states, a multiple of heads."""
    heads: Count = 4
    """Attention heads."""

    @model_validator(mode="after")
    def _heads_share_the_size(self) -> Self:
        if self.embedding_size % self.heads:
            raise ValueError(f"embedding_size is {self.embedding_size}, which {self.heads} heads cannot share evenly")
        return self


class AdaptationConfig(Section):
    """Masked-language modelling on the catalogue's texts, before fine-tuning (Gururangan et al. 2020)."""

    epochs: Annotated[int, Field(ge=0)] = 0
    """Passes over the texts; 0: off."""
    masked_share: PositiveShare = 0.15
    """Share of the tokens that are masked and must be predicted."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    """Learning rate of AdamW."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Weight decay of AdamW."""
    warmup_share: Share = 0.1
    """Share of the steps in which the learning rate rises from 0."""


class DistillationConfig(Section):
    """A student with fewer layers that learns the vectors of the fine-tuned encoder and serves in its place."""

    layers: Count | None = None
    """Layers of the student, evenly spaced over those of the teacher; null: no student."""
    epochs: Count = 3
    """Passes over the texts."""
    learning_rate: Annotated[float, Field(gt=0)] = 5e-4
    """Learning rate of AdamW."""


class InterestConfig(Section):
    """The interest model: item vectors from texts, and a tower that turns a history of them into a user vector."""

    tower: Literal["mean", "attention", "transformer"] = "mean"
    """How a history becomes a vector: its recency-weighted mean, attention over it, or a small causal transformer."""
    size: Annotated[int, Field(ge=2)] | None = None
    """Length of the item vectors, a linear map of the text embeddings, compared by dot products. null: the embeddings
    plus a linear map that starts at zero, compared by cosines; the cheaper choice."""
    residual: bool = False
    """Items seen in training also get a learned vector, for what texts do not express."""
    residual_dropout: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of the items that lose that vector in a step, so that the model also learns from the text alone."""
    hashed_terms: Annotated[int, Field(ge=0)] = 0
    """Number of buckets that the texts' terms (one or two words) are hashed into; each bucket has a learned vector that
    is added to the items with the term, for names and series. 0: off."""
    hashed_terms_dropout: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Share of the items that lose their terms in a step."""
    hashed_terms_learning_rate: Annotated[float, Field(gt=0)] = 1e-2
    """Learning rate of the buckets' vectors."""
    temperature: Annotated[float, Field(gt=0)] = 0.1
    """Divides cosines in the softmax."""
    history_length: Annotated[int, Field(ge=1)] = 50
    """Number of a history's newest items that are used. Data without an order has no newest items: the mean then uses
    all."""
    history_decay: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Weight of an item relative to the next newer one; attention starts from it."""
    layers: Count = 2
    """Layers of the transformer."""
    heads: Count = 2
    """Attention heads of the transformer; size must be a multiple."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Dropout of the transformer."""
    epochs: Annotated[int, Field(ge=0)] = 4
    """Passes over the histories."""
    refresh_epochs: Annotated[int, Field(ge=0)] = 1
    """Passes where training continues from the model of an older window."""
    max_steps: Count = 800
    """Largest number of batches, all epochs together."""
    batch_size: Count = 32
    """Users per batch."""
    targets: Count | None = 256
    """Largest number of next items to predict per user, drawn at random; null: all."""
    negatives: Count | None = None
    """Items drawn per step as negatives; null: the whole catalogue."""
    event_weights: bool = False
    """Weigh a next item by the weights of its events."""
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    """Learning rate at the start."""
    last_learning_share: Annotated[float, Field(gt=0, le=1)] = 0.05
    """Share of the learning rate that is left at the last step."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Weight decay of AdamW."""

    @model_validator(mode="after")
    def _heads_share_the_size(self) -> Self:
        if self.tower == "transformer" and self.size is None:
            raise ValueError("tower transformer needs a size, such as 64")
        if self.tower == "transformer" and self.size is not None and self.size % self.heads:
            raise ValueError(f"size is {self.size}, which {self.heads} heads cannot share evenly")
        return self


class SequenceConfig(InterestConfig):
    """An interest model for data whose order matters most: fitted if `depths` has `sequence`."""

    tower: Literal["mean", "attention", "transformer"] = "transformer"
    size: Annotated[int, Field(ge=2)] | None = 64
    residual: bool = True
    history_length: Annotated[int, Field(ge=1)] = 100
    epochs: Annotated[int, Field(ge=0)] = 20
    refresh_epochs: Annotated[int, Field(ge=0)] = 10
    max_steps: Count = 3000
    batch_size: Count = 64
    targets: Count | None = None
    negatives: Count | None = 256
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    last_learning_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    weight_decay: Annotated[float, Field(ge=0)] = 0.0


class TfidfConfig(DecayingSection):
    """Nearest items by shared words."""

    max_words: Annotated[int, Field(ge=1, le=5)] = 2
    """Longest term, in words, or in characters for scripts without spaces."""
    max_share: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Terms in more than this share of the items are left out: they are the least informative and the most costly."""
    k: Count = 200
    """Neighbours kept per item."""


class TextConfig(Section):
    """Item text, the encoder, the interest model and TF-IDF neighbours."""

    checkpoint: str = "all-MiniLM-L6-v2"
    """Installed package or folder of a BERT-family checkpoint, or its name on the hub with a pin:
    `NAME@COMMIT#SHA256`, the commit in full and the hash of `model.safetensors`."""
    fields: Annotated[tuple[str, ...], Field(min_length=1)] = ("title", "tags", "description")
    """Parts of an item's text, in order: an item column, or a phrase around columns such as "by {author}", left out
    where a column of it is empty. Attributes are columns too."""
    max_tokens: Annotated[int, Field(ge=8, le=512)] = 64
    """Longest text, in tokens; the rest is cut off."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto: bfloat16 where the processor or GPU supports it, else float32."""
    batch_tokens: Annotated[int, Field(ge=512)] = 8192
    """Largest encoder batch, in tokens including padding; on a CPU batches are smaller where that fits its cache."""
    pooling: Literal["mean", "cls", "attention"] = "mean"
    """How the token vectors of a text become a single vector; attention is learned in fine-tuning."""
    projection: Annotated[int, Field(ge=2)] | None = None
    """Size that vectors are projected to, initially by their principal axes; null: the checkpoint's size."""
    own_bert: OwnBertConfig | None = None
    """Train a BERT on the catalogue instead of using a checkpoint; null: off."""
    adaptation: AdaptationConfig = AdaptationConfig()
    """Masked-language modelling on the catalogue's texts."""
    fine_tune: FineTuneConfig = FineTuneConfig()
    """Training of the encoder on interactions."""
    distillation: DistillationConfig = DistillationConfig()
    """A smaller encoder that imitates the fine-tuned one and serves instead."""
    interest: InterestConfig = InterestConfig()
    """The model of the source text."""
    sequence: SequenceConfig = SequenceConfig()
    """The model of the source sequence."""
    tfidf: TfidfConfig = TfidfConfig()
    """Neighbours by shared words."""

    @field_validator("fields")
    @classmethod
    def _fields_can_be_read(cls, fields: tuple[str, ...]) -> tuple[str, ...]:
        for field in fields:
            read_field(field)
        return fields

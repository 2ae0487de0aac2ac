"""Settings of the models of texts: encoder, interest model, TF-IDF neighbours."""

from __future__ import annotations

from string import Formatter
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from recsys.config.section import AUTO, Auto, Count, DecayingSection, PositiveShare, Section, Share


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
                raise ValueError("braces may contain only the name of a column")
            columns.append(column)
            words.append("")
        if not columns:
            raise ValueError("it contains no column name")
    except ValueError as error:
        raise ValueError(
            f"{field!r} is not a valid phrase: {error}; write it like 'by {{author}}', and double literal braces"
        ) from error
    return words, columns


class ObjectivesConfig(Section):
    """Weights of the fine-tuning objectives in the total loss; 0: off."""

    next_item: Annotated[float, Field(ge=0)] = 0.0
    """Weight of next-item prediction from the history so far."""
    co_interaction: Annotated[float, Field(ge=0)] = 1.0
    """Weight of co-interaction: predict another item near it in the same user's history."""
    cf_alignment: Annotated[float, Field(ge=0)] = 0.0
    """Weight of alignment: text vectors match the items' collaborative factors, through a learned map."""


class HardNegativesConfig(Section):
    """Number of hard negatives per target, in addition to those of the batch."""

    als: Annotated[int, Field(ge=0)] = 0
    """Number per target, nearest by collaborative factors."""
    text: Annotated[int, Field(ge=0)] = 0
    """Number per target, nearest by text; selected again in each epoch."""


class AugmentationConfig(Section):
    """Text augmentation in training; probabilities per token or per text."""

    token_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Probability that a token is dropped."""
    field_dropout: Share = 0.0
    """Probability that a whole field of a text is dropped."""
    span_crop: Share = 0.0
    """Probability that only a contiguous span of a text is kept, at least half of it."""


class AdapterConfig(Section):
    """LoRA (Hu et al. 2022) and AdaLoRA (Zhang et al. 2023): low-rank changes of the attention's maps."""

    rank: Count = 8
    """Rank of the low-rank matrices."""
    alpha: Annotated[float, Field(gt=0)] = 16.0
    """LoRA alpha: scale of the low-rank change, divided by the rank."""


class FineTuneConfig(Section):
    """Training of the encoder on items that the same users interacted with.

    A step encodes `batch_size` items; every other item is represented by the vector it last had (a memory, as in Wang
    et al. 2020, arXiv 1912.06798), so a step learns from many histories and against the whole catalogue.
    """

    epochs: Annotated[int, Field(ge=0)] = 1
    """Number of epochs over the items with interactions; 0: the checkpoint is used without fine-tuning."""
    max_steps_per_epoch: Count = 50
    """Maximum number of batches per epoch, which limits the time for a large catalogue."""
    draw: Literal["items", "interactions"] = "interactions"
    """items: every item with interactions once per epoch. interactions: items in proportion to their interactions."""
    batch_size: Annotated[int, Field(ge=2)] = 128
    """Batch size: number of items encoded per step."""
    examples_per_item: Count = 8
    """Number of histories per item in a step (draw: items)."""
    objectives: ObjectivesConfig = ObjectivesConfig()
    """Objectives with their weights."""
    negatives: Literal["catalogue", "batch"] = "batch"
    """batch: the other items of the batch are the negatives. catalogue: all items with interactions are, with the
    vectors of their last encoding."""
    max_negatives: Count = 8192
    """Maximum number of negatives per step, drawn at random (negatives: catalogue)."""
    log_q: bool = False
    """Correct for how often an item is drawn as a negative (negatives: batch, draw: interactions)."""
    hard_negatives: HardNegativesConfig = HardNegativesConfig()
    """Hard negatives."""
    temperature: Annotated[float, Field(gt=0)] = 0.05
    """Softmax temperature, by which cosines are divided."""
    history_length: Count = 50
    """Number of newest history items in the user vector."""
    history_decay: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Decay in the user vector: weight of an item relative to the next newer one."""
    max_distance: Count = 5
    """Maximum distance in a history between the two items of co_interaction."""
    event_weights: bool = False
    """Whether examples are weighted by the weights of their events."""
    augmentation: AugmentationConfig = AugmentationConfig()
    """Text augmentation."""
    adversarial: Annotated[float, Field(ge=0)] = 0.0
    """Norm of the adversarial perturbation of the hidden states, per text (FGM, Miyato et al. 2017); 0: off."""
    method: Literal["layers", "full", "lora", "adalora"] = "layers"
    """What is trained. layers: the last trainable_layers; the layers below run once per text. full: all layers and word
    vectors. lora, adalora: low-rank changes in the last trainable_layers."""
    trainable_layers: Annotated[int, Field(ge=1)] = 1
    """Number of trainable layers, from the top."""
    adapter: AdapterConfig = AdapterConfig()
    """Settings of lora and adalora."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    """Learning rate of the top layer."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Learning rate of a layer relative to the layer above it."""
    head_learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    """Learning rate of the randomly initialised maps."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Weight decay of AdamW."""
    warmup_share: Share = 0.1
    """Warm-up: share of the steps in which the learning rate rises from 0."""
    max_gradient_norm: Annotated[float, Field(gt=0)] = 1.0
    """Gradient clipping: larger norms are scaled down to this."""
    accumulation: Count = 1
    """Gradient accumulation: number of batches per optimiser step."""
    untouched_share: Share | Auto = AUTO
    """Share of the untouched weights in the final ones (Wortsman et al. 2022, arXiv 2109.01903). 0: the fine-tuned
    weights alone; 1: no fine-tuning; auto: 1 or 0, measured by interest models on the label windows."""
    validation_share: Share = 0.0
    """Share of users whose newest item is held out for early stopping: the epoch with the best recall is used; 0: the
    last epoch."""
    validation_n: Count = 20
    """List length n of that recall."""
    patience: Count = 2
    """Number of epochs without a better recall after which training stops."""
    checkpoint_steps: Annotated[int, Field(ge=0)] = 50
    """Number of steps between checkpoints, from which an interrupted training resumes; 0: no checkpoints."""

    @model_validator(mode="after")
    def _something_to_learn(self) -> Self:
        if not any(self.objectives.model_dump().values()):
            raise ValueError("objectives are all 0; set one of them above 0, or set epochs: 0")
        if self.negatives == "catalogue" and (self.hard_negatives.als or self.hard_negatives.text):
            raise ValueError("hard_negatives need negatives: batch; with catalogue all items are negatives already")
        return self


class OwnBertConfig(Section):
    """A BERT trained on the catalogue: a WordPiece vocabulary of its words, random initial weights."""

    vocabulary_size: Annotated[int, Field(ge=100)] = 8_000
    """Size of the WordPiece vocabulary."""
    layers: Count = 4
    """Number of transformer layers."""
    embedding_size: Annotated[int, Field(ge=8)] = 256
    """Hidden size, a multiple of heads."""
    heads: Count = 4
    """Number of attention heads."""

    @model_validator(mode="after")
    def _heads_share_the_size(self) -> Self:
        if self.embedding_size % self.heads:
            raise ValueError(f"embedding_size is {self.embedding_size}, which is not a multiple of heads {self.heads}")
        return self


class AdaptationConfig(Section):
    """Masked-language modelling on the catalogue's texts, before fine-tuning (Gururangan et al. 2020)."""

    epochs: Annotated[int, Field(ge=0)] = 0
    """Number of epochs over the texts; 0: off."""
    masked_share: PositiveShare = 0.15
    """Share of the tokens that are masked and must be predicted."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    """Learning rate of AdamW."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Weight decay of AdamW."""
    warmup_share: Share = 0.1
    """Warm-up: share of the steps in which the learning rate rises from 0."""


class DistillationConfig(Section):
    """A student with fewer layers that learns the vectors of the fine-tuned encoder and serves in its place."""

    layers: Count | None = None
    """Number of layers of the student, evenly spaced over those of the teacher; null: no distillation."""
    epochs: Count = 3
    """Number of epochs over the texts."""
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
    """Whether items with interactions also get a learned vector (ID embedding), for what texts do not express."""
    residual_dropout: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Dropout of that vector: share of the items without it in a step, so that the model also learns from text
    alone."""
    hashed_terms: Annotated[int, Field(ge=0)] = 0
    """Number of buckets that the texts' terms (one or two words) are hashed into; each bucket has a learned vector that
    is added to the items with the term, for names and series. 0: off."""
    hashed_terms_dropout: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Dropout of the terms: share of the items without them in a step."""
    hashed_terms_learning_rate: Annotated[float, Field(gt=0)] = 1e-2
    """Learning rate of the bucket vectors."""
    vector_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Dropout of modalities, if there are `dataset.items.vectors`: share of the items whose text, or one of whose other
    vectors, is left out in a step, never all of them, so that the model also learns from each alone."""
    temperature: Annotated[float, Field(gt=0)] = 0.1
    """Softmax temperature, by which cosines are divided."""
    history_length: Annotated[int, Field(ge=1)] = 50
    """Number of newest history items used. Data without an order has no newest items: the mean then uses
    all."""
    history_decay: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Decay: weight of an item relative to the next newer one; attention is initialised with it."""
    layers: Count = 2
    """Number of transformer layers."""
    heads: Count = 2
    """Number of attention heads of the transformer; size must be a multiple of it."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Dropout of the transformer."""
    epochs: Annotated[int, Field(ge=0)] = 4
    """Number of epochs over the histories."""
    refresh_epochs: Annotated[int, Field(ge=0)] = 1
    """Number of epochs when training continues from the model of an earlier window."""
    max_steps: Count = 800
    """Maximum number of batches, over all epochs."""
    batch_size: Count = 32
    """Batch size: number of users per batch."""
    targets: Count | None = 256
    """Maximum number of next items to predict in a step, drawn at random from those of all its users; null: all.
    Without an order, one prediction per user."""
    negatives: Count | None = None
    """Number of items drawn per step as negatives; null: the whole catalogue, or 16,384 items where it has more."""
    event_weights: bool = False
    """Whether next items are weighted by the weights of their events."""
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    """Initial learning rate."""
    last_learning_share: Annotated[float, Field(gt=0, le=1)] = 0.05
    """Final learning rate, as a share of the initial one."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Weight decay of AdamW."""

    @model_validator(mode="after")
    def _heads_share_the_size(self) -> Self:
        if self.tower == "transformer" and self.size is None:
            raise ValueError("tower: transformer needs a size, such as 64")
        if self.tower == "transformer" and self.size is not None and self.size % self.heads:
            raise ValueError(f"size is {self.size}, which is not a multiple of heads {self.heads}")
        return self


class SequenceConfig(InterestConfig):
    """An interest model for data whose order matters most: fitted if `depths` has `sequence`."""

    use: bool | Auto = AUTO
    """auto: if the order of histories helps transitions to predict what follows them, measured before the oldest label
    window; true: always; false: never."""
    tower: Literal["mean", "attention", "transformer"] = "transformer"
    size: Annotated[int, Field(ge=2)] | None = 64
    residual: bool = True
    history_length: Annotated[int, Field(ge=1)] = 100
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    epochs: Annotated[int, Field(ge=0)] = 20
    refresh_epochs: Annotated[int, Field(ge=0)] = 10
    max_steps: Count = 800
    batch_size: Count = 128
    targets: Count | None = None
    negatives: Count | None = 1024
    learning_rate: Annotated[float, Field(gt=0)] = 8e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.0


class TfidfConfig(DecayingSection):
    """Nearest items by shared words."""

    max_words: Annotated[int, Field(ge=1, le=5)] = 2
    """Maximum n-gram length, in words, or in characters for scripts without spaces."""
    max_share: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Maximum document frequency: terms in more than this share of the items are ignored, as uninformative and
    costly."""
    k: Count = 200
    """Number of neighbours kept per item."""


class TextConfig(Section):
    """Item text, the encoder, the interest model and TF-IDF neighbours."""

    checkpoint: str = "all-MiniLM-L6-v2"
    """BERT-family checkpoint: an installed package, a folder, or a name on the Hugging Face hub with a pin:
    `NAME@COMMIT#SHA256`, the commit in full and the hash of `model.safetensors`."""
    fields: Annotated[tuple[str, ...], Field(min_length=1)] = ("title", "tags", "description")
    """Parts of an item's text, in order: an item column, or a phrase around columns such as "by {author}", omitted
    if one of its columns is empty. Attributes are columns too."""
    max_tokens: Annotated[int, Field(ge=8, le=512)] = 64
    """Maximum text length in tokens; longer texts are truncated."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto: bfloat16 if the processor or GPU supports it, else float32."""
    batch_tokens: Annotated[int, Field(ge=512)] = 8192
    """Maximum encoder batch in tokens, including padding; on a CPU, batches are smaller if that fits its cache."""
    pooling: Literal["mean", "cls", "attention"] = "mean"
    """How token vectors are pooled into a text vector; attention is learned in fine-tuning."""
    projection: Annotated[int, Field(ge=2)] | None = None
    """Size to project vectors to, initialised by principal components; null: the checkpoint's size."""
    own_bert: OwnBertConfig | None = None
    """Train a BERT on the catalogue instead of using a checkpoint; null: off."""
    adaptation: AdaptationConfig = AdaptationConfig()
    """Masked-language modelling on the catalogue's texts."""
    fine_tune: FineTuneConfig = FineTuneConfig()
    """Training of the encoder on interactions."""
    distillation: DistillationConfig = DistillationConfig()
    """Distillation into a smaller encoder, which serves instead."""
    interest: InterestConfig = InterestConfig()
    """Interest model of the source `text`."""
    sequence: SequenceConfig = SequenceConfig()
    """Interest model of the source `sequence`."""
    tfidf: TfidfConfig = TfidfConfig()
    """TF-IDF neighbours, for the source `tfidf`."""

    @field_validator("fields")
    @classmethod
    def _fields_can_be_read(cls, fields: tuple[str, ...]) -> tuple[str, ...]:
        for field in fields:
            read_field(field)
        return fields

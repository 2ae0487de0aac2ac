"""Settings of what reads texts: encoder, interest model, TF-IDF neighbours."""

from __future__ import annotations

from string import Formatter
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from recsys.config.section import Count, DecayingSection, PositiveShare, Section, Share


def read_field(field: str) -> tuple[list[str], list[str]]:
    """Take one of the text's fields apart: the words around its columns, and the columns.

    A field with a `{` is a phrase around columns, such as `by {author}`, literal braces doubled as in `str.format`;
    any other is the name of a column.

    Returns:
        Words before each column and after the last, one more than columns, some of them empty; and the columns in
        their order, at least one.

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
            f"{field!r} is no phrase: {error}; write it as 'by {{author}}', and double a brace that is meant as such"
        ) from error
    return words, columns


class ObjectivesConfig(Section):
    """What fine-tuning learns from, each with its weight in the sum; 0 leaves it out."""

    # Given a history so far, which item came next?
    next_item: Annotated[float, Field(ge=0)] = 0.0
    # Given one item, which other did the same user take near it?
    co_interaction: Annotated[float, Field(ge=0)] = 1.0
    # Text vectors point where the collaborative factors of their items do, by a learned map.
    cf_alignment: Annotated[float, Field(ge=0)] = 0.0


class HardNegativesConfig(Section):
    """Items near a target that stand against it beside those of the batch; how many of each kind per target."""

    # Nearest by collaborative factors.
    als: Annotated[int, Field(ge=0)] = 0
    # Nearest by text, anew each epoch.
    text: Annotated[int, Field(ge=0)] = 0


class AugmentationConfig(Section):
    """What is hidden of a text while training; chances per token or per text."""

    token_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    # Chance that one whole field of a text is hidden.
    field_dropout: Share = 0.0
    # Chance that only one stretch of a text is seen, half of it at least.
    span_crop: Share = 0.0


class AdapterConfig(Section):
    """LoRA (Hu et al. 2022) and AdaLoRA (Zhang et al. 2023): low-rank changes of the attention's maps."""

    rank: Count = 8
    alpha: Annotated[float, Field(gt=0)] = 16.0


class FineTuneConfig(Section):
    """Training of the encoder on what the same users took.

    A step encodes `batch_size` items; every other item stands in with the vector it last had (a memory, as in Wang et
    al. 2020, arXiv 1912.06798), so one step learns from many histories and against the whole catalogue.
    """

    # Passes over the items that anybody touched; 0 leaves the checkpoint as it is.
    epochs: Annotated[int, Field(ge=0)] = 1
    # An epoch is at most this many batches, so that a large catalogue cannot take the night.
    max_steps_per_epoch: Count = 100
    # items: every touched item once an epoch. interactions: items as often as they were taken.
    draw: Literal["items", "interactions"] = "interactions"
    # Items encoded in a step.
    batch_size: Annotated[int, Field(ge=2)] = 128
    # Histories in which an item is looked for in its step (draw: items).
    examples_per_item: Count = 8
    objectives: ObjectivesConfig = ObjectivesConfig()
    # What stands against the right item: the other items of the batch, or the whole touched catalogue. Of that only the
    # batch is as the encoder is now, and to tell it from older vectors can be learned too, which is worth nothing.
    negatives: Literal["catalogue", "batch"] = "batch"
    # Of a larger catalogue this many are drawn for a step.
    max_negatives: Count = 8192
    # Correct for how often an item is drawn as a negative (negatives: batch, draw: interactions).
    log_q: bool = False
    hard_negatives: HardNegativesConfig = HardNegativesConfig()
    temperature: Annotated[float, Field(gt=0)] = 0.05
    # The newest items of a history that make the user vector, each step back weighing this much less.
    history_length: Count = 50
    history_decay: Annotated[float, Field(gt=0, le=1)] = 0.9
    # How far apart in a history the two items of co_interaction may stand.
    max_distance: Count = 5
    # Weigh examples by the weights of their events.
    event_weights: bool = False
    augmentation: AugmentationConfig = AugmentationConfig()
    # Length of the step against the gradient on the hidden states, per text (FGM, Miyato et al. 2017); 0: off.
    adversarial: Annotated[float, Field(ge=0)] = 0.0
    # layers: the last `trainable_layers`, those below run once per text. full: all, word vectors too. lora, adalora:
    # low-rank changes in the last `trainable_layers`.
    method: Literal["layers", "full", "lora", "adalora"] = "layers"
    trainable_layers: Annotated[int, Field(ge=1)] = 1
    adapter: AdapterConfig = AdapterConfig()
    # Of the top layer; each one below learns `layer_decay` times as fast. Heads are those maps that start from nothing.
    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 0.9
    head_learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    warmup_share: Share = 0.1
    max_gradient_norm: Annotated[float, Field(gt=0)] = 1.0
    # Batches whose gradients make one step of the optimiser.
    accumulation: Count = 1
    # Share of the users whose newest item is kept aside to tell, by recall@n after each epoch, which epoch was best;
    # 0: the last one is taken.
    validation_share: Share = 0.0
    validation_n: Count = 20
    # Epochs without a better recall before training stops.
    patience: Count = 2
    # Steps between two notes of where training stands, from which a killed one goes on; 0: none.
    checkpoint_steps: Annotated[int, Field(ge=0)] = 50

    @model_validator(mode="after")
    def _something_to_learn(self) -> Self:
        if not any(self.objectives.model_dump().values()):
            raise ValueError("objectives are all 0; give one of them a weight, or set epochs: 0")
        if self.negatives == "catalogue" and (self.hard_negatives.als or self.hard_negatives.text):
            raise ValueError("hard_negatives need negatives: batch; with catalogue all items are negatives already")
        return self


class OwnBertConfig(Section):
    """A BERT of the catalogue's own: a WordPiece vocabulary of its words, weights that start from nothing."""

    vocabulary_size: Annotated[int, Field(ge=100)] = 8_000
    layers: Count = 4
    embedding_size: Annotated[int, Field(ge=8)] = 256
    heads: Count = 4

    @model_validator(mode="after")
    def _heads_share_the_size(self) -> Self:
        if self.embedding_size % self.heads:
            raise ValueError(f"embedding_size is {self.embedding_size}, which {self.heads} heads cannot share evenly")
        return self


class AdaptationConfig(Section):
    """Masked-language modelling on the catalogue's texts, before users are looked at (Gururangan et al. 2020)."""

    # Passes over the texts; 0 leaves the checkpoint as it is.
    epochs: Annotated[int, Field(ge=0)] = 0
    # Share of the tokens that must be guessed.
    masked_share: PositiveShare = 0.15
    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    warmup_share: Share = 0.1


class DistillationConfig(Section):
    """A student of fewer layers that learns to give the fine-tuned encoder's vectors, and serves in its place."""

    # Layers the student keeps, evenly spread over the teacher's; None: no student.
    layers: Count | None = None
    epochs: Count = 3
    learning_rate: Annotated[float, Field(gt=0)] = 5e-4


class InterestConfig(Section):
    """What a history asks for: item vectors from texts, and a tower that reads a history of them."""

    # How a history becomes one vector: its recency-weighted mean, attention over it, or a small causal transformer.
    tower: Literal["mean", "attention", "transformer"] = "mean"
    # Length of the item vectors, a linear map of the texts' embeddings that are compared by dot products. None: the
    # embeddings themselves plus a linear map that starts at zero, compared by cosines; the cheap one.
    size: Annotated[int, Field(ge=2)] | None = None
    # Items that training has seen also get a vector of their own, for what texts cannot know.
    residual: bool = False
    # Share of the items that lose it in a step, so that the text alone must do.
    residual_dropout: Annotated[float, Field(ge=0, le=1)] = 0.1
    # Terms of the texts (runs of one or two words) are hashed into so many buckets, each with a vector of its own that
    # is added to those of the items that hold it: names and series tell what a meaning does not. 0: off.
    hashed_terms: Annotated[int, Field(ge=0)] = 0
    # Share of the items that lose theirs in a step, and how fast they are learned.
    hashed_terms_dropout: Annotated[float, Field(ge=0, le=1)] = 0.3
    hashed_terms_learning_rate: Annotated[float, Field(gt=0)] = 1e-2
    # Divides cosines.
    temperature: Annotated[float, Field(gt=0)] = 0.1
    # Newest items of a history that are looked at, and how much less each step back weighs; attention starts there.
    # Where the data has no order none is newer, and the mean looks at all.
    history_length: Annotated[int, Field(ge=1)] = 50
    history_decay: Annotated[float, Field(gt=0, le=1)] = 0.9
    # Of the transformer.
    layers: Count = 2
    heads: Count = 2
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    # Passes over the histories, and where an older window's model is continued; together at most so many batches.
    epochs: Annotated[int, Field(ge=0)] = 4
    refresh_epochs: Annotated[int, Field(ge=0)] = 1
    max_steps: Count = 800
    # Users in a batch, and places of their histories asked about, drawn where there are more; None: all.
    batch_size: Count = 32
    targets: Count | None = 256
    # Items drawn per step against which every next item has to stand; None: the whole catalogue.
    negatives: Count | None = None
    # A next item counts as much as its events weigh.
    event_weights: bool = False
    # Falls step by step to this share of itself.
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    last_learning_share: Annotated[float, Field(gt=0, le=1)] = 0.05
    weight_decay: Annotated[float, Field(ge=0)] = 0.01

    @model_validator(mode="after")
    def _heads_share_the_size(self) -> Self:
        if self.tower == "transformer" and self.size is None:
            raise ValueError("tower transformer needs a size, such as 64")
        if self.tower == "transformer" and self.size is not None and self.size % self.heads:
            raise ValueError(f"size is {self.size}, which {self.heads} heads cannot share evenly")
        return self


class SequenceConfig(InterestConfig):
    """The same, where order says most: fitted where `depths` names `sequence`."""

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
    """Nearest items by the words they share."""

    # A term is a run of up to this many words, or characters in scripts without spaces.
    max_words: Annotated[int, Field(ge=1, le=5)] = 2
    # Terms that more than this share of the items have are left out: they tell nothing and cost most.
    max_share: Annotated[float, Field(gt=0, le=1)] = 0.1
    k: Count = 200


class TextConfig(Section):
    """Item text, the encoder, the interest model and TF-IDF neighbours."""

    # Installed package name, folder, or hub name of a BERT-family checkpoint.
    checkpoint: str = "all-MiniLM-L6-v2"
    # What makes the text, in this order: an item column, or a phrase around columns such as "by {author}", which is
    # left out where a column of it is empty. Attributes are columns too.
    fields: Annotated[tuple[str, ...], Field(min_length=1)] = ("title", "tags", "description")
    max_tokens: Annotated[int, Field(ge=8, le=512)] = 64
    # auto: bfloat16 where the processor or GPU has it, else float32.
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    # Tokens in one encoder batch, padding included; on a processor fewer fit its cache, and so many are the most.
    batch_tokens: Annotated[int, Field(ge=512)] = 8192
    # How a text's token vectors become one; attention is learned in fine-tuning.
    pooling: Literal["mean", "cls", "attention"] = "mean"
    # Size the vectors are projected to, by their principal axes at first; None: the checkpoint's own.
    projection: Annotated[int, Field(ge=2)] | None = None
    # Give it to read the catalogue with a BERT of its own instead of a checkpoint.
    own_bert: OwnBertConfig | None = None
    adaptation: AdaptationConfig = AdaptationConfig()
    fine_tune: FineTuneConfig = FineTuneConfig()
    distillation: DistillationConfig = DistillationConfig()
    interest: InterestConfig = InterestConfig()
    sequence: SequenceConfig = SequenceConfig()
    tfidf: TfidfConfig = TfidfConfig()

    @field_validator("fields")
    @classmethod
    def _fields_can_be_read(cls, fields: tuple[str, ...]) -> tuple[str, ...]:
        for field in fields:
            read_field(field)
        return fields

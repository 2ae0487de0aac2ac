"""Settings of what reads texts: encoder, interest model, TF-IDF neighbours."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from recsys.config.section import Count, Section, Share


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

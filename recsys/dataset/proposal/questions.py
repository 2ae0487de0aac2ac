"""Questions of the proposal: where files can be read in two ways, somebody decides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from recsys.errors import ConfigError

# Key of a question -> what it decides, for the help and for errors.
KEYS = {
    "items": "the table of the items",
    "interactions": "the table of the interactions",
    "item_id": "the column of the items' ids, in the table of the items",
    "item": "the column of the items' ids, in the table of the interactions",
    "user": "the column of the users' ids",
    "title": "the column of the titles",
    "encoding": "the encoding of texts that are not UTF-8, such as windows-1251",
    "time": "the column of the events' time, or none",
    "time_format": "how the times are written",
    "event": "the column of the event kinds, or none",
    "value": "the column of a number such as a rating or a quantity, or none",
    "value_meaning": "what the number is: rating, quantity or count",
    "zero": "what a rating of 0 means: missing or number",
    "wishes": "whether lists should predict wishes and to-read marks (positive) or only exclude them (owned)",
    "repeats": "whether lists may contain items that the user already has: yes or no",
}
_SHOWN_OPTIONS, _SHOWN_ALTERNATIVES = 12, 4


@dataclass(frozen=True)
class Question:
    """A decision that the files leave open.

    Attributes:
        key: a key of `KEYS`.
        text: the question, as a sentence.
        options: the answers that are possible.
        chosen: the one that is assumed if nobody answers.
        evidence: what speaks for each option, or for the choice.
    """

    key: str
    text: str
    options: tuple[str, ...]
    chosen: str
    evidence: str = ""

    @property
    def alternatives(self) -> str:
        """The options that are given if the choice is wrong, as on the command line."""
        others = [option for option in self.options if option != self.chosen][:_SHOWN_ALTERNATIVES]
        return " or ".join(f"--answer {self.key}={option}" for option in others)


@dataclass
class Decisions:
    """Answers that are given, and what was decided.

    Attributes:
        answers: key -> answer, from the command line.
        ask: asks somebody and returns the answer; None where nobody can be asked.
        open: questions that nobody answered: the config marks them with `# CHECK`.
        answered: key -> the answer that somebody gave.
    """

    answers: Mapping[str, str] = field(default_factory=dict)
    ask: Callable[[Question], str] | None = None
    open: list[Question] = field(default_factory=list)
    answered: dict[str, str] = field(default_factory=dict)

    def decide(
        self, key: str, options: Sequence[str], chosen: str, *, clear: bool, text: str = "", evidence: str = ""
    ) -> str:
        """Return the answer to a question; a clear one is not asked.

        Raises:
            ConfigError: the answer given is none of the options.
        """
        options = tuple(dict.fromkeys(options))
        if key in self.answered:
            return self.answered[key]
        if key in self.answers:
            return self._take(key, options, self.answers[key])
        if clear:
            return chosen
        question = Question(key, text, options, chosen, evidence)
        if self.ask is not None:
            return self._take(key, options, self.ask(question))
        if question not in self.open:
            self.open.append(question)
        return chosen

    @property
    def unused(self) -> dict[str, str]:
        """Answers to questions that never came up."""
        return {key: text for key, text in self.answers.items() if key not in self.answered}

    def is_open(self, key: str) -> Question | None:
        """Return the question of a key that nobody answered, if it was one."""
        return next((question for question in self.open if question.key == key), None)

    def _take(self, key: str, options: tuple[str, ...], answer: str) -> str:
        near = [option for option in options if option.lower() == answer.strip().lower()]
        if answer.strip() not in options and len(near) != 1:
            shown = ", ".join(options[:_SHOWN_OPTIONS]) + (", ..." if len(options) > _SHOWN_OPTIONS else "")
            raise ConfigError(f"answer {key}={answer}: not possible; choose one of {shown}")
        self.answered[key] = answer.strip() if answer.strip() in options else near[0]
        return self.answered[key]


def parse_answers(texts: Sequence[str]) -> dict[str, str]:
    """Return the answers given as `key=value`.

    Raises:
        ConfigError: a text without =, an unknown key, or two answers for a key.
    """
    answers: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        key = key.strip()
        if not equals or key not in KEYS:
            known = ", ".join(KEYS)
            raise ConfigError(f"--answer {text}: expected key=value with one of the keys {known}")
        if answers.get(key, value.strip()) != value.strip():
            raise ConfigError(f"--answer {key}: is set twice, to {answers[key]} and {value.strip()}; keep one")
        answers[key] = value.strip()
    return answers

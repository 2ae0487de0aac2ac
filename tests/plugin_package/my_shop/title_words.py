"""A feature: how the length of the item's title compares with the user's items."""

import numpy as np
from numpy.typing import NDArray

from recsys.candidates.merge import CandidateRows
from recsys.config import Section
from recsys.dataset.histories import Histories
from recsys.features.feature import CandidateFeature
from recsys.features.item_facts import ItemFacts
from recsys.features.user_features import average


class TitleWordsConfig(Section):
    """Settings of `TitleWordsFeature`."""

    max_words: int = 20


class TitleWordsFeature(CandidateFeature):
    """Words of the title, and their difference from the mean over the user's history."""

    name = "title_words"
    section = TitleWordsConfig

    def names(self) -> dict[str, str]:
        return {
            "title_words": "Words of the title.",
            "title_words_fit": "Words of the title minus their mean over the user's items.",
        }

    def describe(self, rows: CandidateRows, histories: Histories, facts: ItemFacts) -> dict[str, NDArray[np.float32]]:
        words = facts.items["title"].str.count_matches(r"\S+").to_numpy().astype(np.float32)
        words = np.minimum(words, np.float32(self.settings.max_words))
        mean = average(words[histories.items], histories).astype(np.float32)
        return {"title_words": words[rows.items], "title_words_fit": words[rows.items] - mean[rows.users]}

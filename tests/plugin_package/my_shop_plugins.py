"""The other way in: a config that lists this module under `plugins` needs no entry points."""

from my_shop.newest import NewestBaseline
from my_shop.same_tag import SameTagSource
from my_shop.title_words import TitleWordsFeature
from my_shop.trending import TrendingSource

from recsys.config.plugins import register_baseline, register_feature, register_source

register_source(TrendingSource)
register_source(SameTagSource)
register_feature(TitleWordsFeature)
register_baseline(NewestBaseline)

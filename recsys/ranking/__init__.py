"""From candidates with features to final lists: blend, LightGBM ranker, selection."""

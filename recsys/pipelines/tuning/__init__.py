"""`recsys tune`: a search over settings for quality and run time."""

"""Text-based recommender: encoder, collaborative filtering and a learned ranking, run every night."""

__version__ = "0.1.0"

"""Evaluation: how good the lists are, how certain that is, and which model is better.

`metrics` turns lists into one number per user, `intervals` computes the uncertainty of their means, and `comparison`
compares several models on the same users.
"""

"""Evaluation: how good the lists are, how sure we are of it, and which model is ahead.

`metrics` turns lists into one number per user, `intervals` says how far such numbers can be trusted, and
`comparison` puts several models side by side, paired by user.
"""

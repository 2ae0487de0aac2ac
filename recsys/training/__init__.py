"""Fitting a bundle on a fold, calibrating it, and measuring it against baselines."""

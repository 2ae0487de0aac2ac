"""From a fold to a fitted bundle, its calibration, its baselines and its measurement."""

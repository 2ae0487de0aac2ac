"""Sources, a feature and a baseline of a shop, one file each."""

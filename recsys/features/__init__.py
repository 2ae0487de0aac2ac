"""Item, user and pair features as of an instant: one function for training and for the night."""

"""Item text, the BERT encoder, its fine-tuning and the interest model."""

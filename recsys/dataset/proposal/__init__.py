"""What `recsys init` proposes: a config for raw files that nobody has described."""

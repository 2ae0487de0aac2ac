"""Wiring only: join the stages to files, to MLflow and to the terminal."""

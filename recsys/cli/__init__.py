"""The command line: one file per group of commands, each of which loads the config, calls a pipeline and prints."""

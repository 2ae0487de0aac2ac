"""The bundle that serves, the one chain that makes lists, and the nightly batch."""

"""The gate: may the challenger replace the champion? `decide` answers from a `Case`; docs/explanation/gate.md has the rules."""

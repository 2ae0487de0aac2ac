"""The gate: may the challenger replace the champion? `decide` answers from a `Case`; docs/gate.md has the rules."""

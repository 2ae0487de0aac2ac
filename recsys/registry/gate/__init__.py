"""The gate: may the challenger replace the champion? `decide` answers from a `Case`; see docs/explanation/gate.md."""

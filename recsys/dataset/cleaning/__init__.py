"""Clean raw cell values: text, lists, ids, numbers, times.

Every function takes and returns a Series of the same length, and the result for a value depends on that value alone.
What cannot be parsed becomes null; the rules of ingest decide what that means.
"""

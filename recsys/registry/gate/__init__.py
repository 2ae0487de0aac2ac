"""The gate: may the challenger replace the champion?"""

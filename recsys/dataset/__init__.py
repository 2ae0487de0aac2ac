"""Raw files to checked tables, histories and windows."""

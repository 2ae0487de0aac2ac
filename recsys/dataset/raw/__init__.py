"""Raw files of any usual form -> batches of rows."""

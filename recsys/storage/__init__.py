"""Files and folders on disk: read by exact path, written whole or not at all, checked by hash."""

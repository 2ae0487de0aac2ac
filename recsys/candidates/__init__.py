"""Sources that propose items, and their union."""

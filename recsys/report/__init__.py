"""The report: one HTML page that shows what a training measured and what its lists hold."""

"""Real servers run in the foreground as children of whoever starts them here."""

"""One module per wire mechanism, found by name."""

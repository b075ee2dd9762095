"""Wrong input, as a person at the command line gives it."""

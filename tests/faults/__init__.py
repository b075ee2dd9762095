"""The fault matrix of the commit protocol, row by row."""

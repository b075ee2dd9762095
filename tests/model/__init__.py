"""A model of the commit protocol, explored to its end, and real runs held against it."""

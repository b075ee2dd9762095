"""Real processes are killed, and the world is looked at from the outside."""

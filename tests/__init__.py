"""The tests: one folder a room, and the proofs that run across rooms."""

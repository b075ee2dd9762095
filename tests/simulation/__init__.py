"""Deterministic simulation: the real program over a simulated world, decided by one seed."""

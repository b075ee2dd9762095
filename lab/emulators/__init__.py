"""Emulated vendor devices that hold state and misbehave like the vendor's, many to a process."""

"""What we do: pure designs of changes, the task bodies, and the wires to devices."""

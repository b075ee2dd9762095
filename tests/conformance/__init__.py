"""What every platform must pass, shipped or dropped in."""

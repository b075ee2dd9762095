"""One script per claim of the README's performance table."""

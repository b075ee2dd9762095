"""Programs of other systems that live from the shared ledger: read them, and write your own."""

"""What is owed: the ledger and the rules of price."""

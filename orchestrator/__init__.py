"""How it is done safely: coordinator, decision, journal, recovery, command line."""

"""The security checklist as tests: secrets, SQL, files."""

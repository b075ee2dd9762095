"""Databases for every test that needs one: a SQLite file, and a private PostgreSQL server."""

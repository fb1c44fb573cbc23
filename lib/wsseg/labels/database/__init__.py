"""Weak labels in SQLite or PostgreSQL: nothing is overwritten, and every write is one transaction."""

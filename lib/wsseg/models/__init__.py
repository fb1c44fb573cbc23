"""Trained packages on disk: schema, versions, cards, new ones."""

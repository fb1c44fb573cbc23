"""Trained packages on disk: schema, versions, cards, new ones."""

DEFAULT_MODEL = "cldf-glioma-flair"
"""What segments where no model is named."""

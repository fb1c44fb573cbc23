"""Losses that libraries do not have."""

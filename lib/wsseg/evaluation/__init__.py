"""Masks against references, and pictures of both."""

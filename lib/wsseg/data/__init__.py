"""Importers, slice data sets, a synthetic phantom."""

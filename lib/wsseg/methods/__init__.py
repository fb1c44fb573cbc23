"""The published methods, one file each, and their contract."""

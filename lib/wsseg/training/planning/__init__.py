"""What a model is before it is trained: its settings, told from scans and labels, and the package that they go into."""

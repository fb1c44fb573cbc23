"""What is found out about a trained model: how far to believe it, and which scans it is for."""

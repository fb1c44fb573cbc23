"""The training process and batches."""

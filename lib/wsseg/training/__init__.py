"""The one loop, its checkpoints, and what becomes of a run."""

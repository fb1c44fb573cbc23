"""Noise schedules by sigma and the condition derivative."""

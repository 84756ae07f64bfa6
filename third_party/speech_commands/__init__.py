"""Google Speech Commands v0.02, the task of 12 classes."""

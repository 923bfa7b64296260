"""Numerics, speed and memory of the training step on one GPU; see `__main__.py`."""

"""Small runs as commands."""

HANGS = 900
"""Seconds after which what is waited for hangs. A machine with nothing else to do needs a tenth of it at most."""
SMALL = [
    *("--steps", "8", "--global-batch", "16", "--hidden-size", "16", "--layers", "1", "--heads", "2"),
    *("--intermediate-size", "32", "--vocab-size", "300", "--max-length", "16", "--checkpoint-every", "4"),
    *("--threads", "1"),
]

"""The errors that end a command with one sentence instead of a traceback."""


class RunError(Exception):
    """Something in the world is not as the run needs it: the command prints the message and exits 1."""


class UsageError(RunError):
    """A flag or argument is outside what is allowed: the command prints the message and exits 2."""

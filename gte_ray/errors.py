"""The errors that end a command with one sentence instead of a traceback."""


class RunError(Exception):
    """Something in the world is not as the run needs it: the command prints the message and exits 1."""


class UsageError(RunError):
    """A flag or argument is outside what is allowed: the command prints the message and exits 2."""


class OutOfMemory(RunError):
    """There is too little memory for what the settings ask for, so that trying again would fail again."""


class InternalError(RunError):
    """A fault of the program, not of its input; `details` is the traceback of where it happened."""

    def __init__(self, message: str, details: str = ""):
        super().__init__(message, details)
        self.message, self.details = message, details

    def __str__(self) -> str:
        return self.message

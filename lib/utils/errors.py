"""Exceptions and exit statuses: a mistake in the input (exit status 2) or a run that failed (exit status 1)."""
DONE, FAILED, MISTAKE, INTERRUPTED, SIGNALLED = 0, 1, 2, 130, 128   # exit statuses of all scripts; for a signal 128 + its number
UNREAD = SIGNALLED + 13   # the reader of the output is gone: the status for SIGPIPE, which Windows does not have


class InputError(Exception):
    """A mistake in the user's input. Its message names the file, key or entry, and says what would work.

    Attributes:
        agreed: all ranks raise it together, so that only one of them prints it.
    """

    agreed = False


class MissingPathError(InputError, FileNotFoundError):
    """A file or folder that was asked for does not exist."""

    __str__ = Exception.__str__   # OSError would print only its first two arguments


class UnreadableImageError(InputError):
    """An image cannot be read. It is raised in the middle of an epoch, only on the rank that reads the image."""


class UnknownNameError(InputError, LookupError):
    """A name that is not in the registry or config tree."""


class RunFailedError(Exception):
    """The run cannot continue, for example because its loss is not finite."""


class RunInterruptedError(Exception):
    """A signal has stopped the run.

    Args:
        number: number of the signal.
        left: a text that says what of the run is saved.
    """

    def __init__(self, number: int, left: str) -> None:
        super().__init__(left)
        self.number = number

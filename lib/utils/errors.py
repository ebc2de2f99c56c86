"""What can go wrong: a mistake in the input (exit status 2) or a run that failed (exit status 1)."""
DONE, FAILED, MISTAKE, INTERRUPTED, SIGNALLED = 0, 1, 2, 130, 128   # exit statuses of all scripts; of a signal: 128 + its number
UNREAD = SIGNALLED + 13   # nobody reads the output any more: SIGPIPE, which Windows lacks


class InputError(Exception):
    """A mistake in what the user gave: one message that names file, key or entry and what would have worked.

    Attributes:
        agreed: all ranks raise it together, so that one of them is enough to tell it.
    """

    agreed = False


class MissingPathError(InputError, FileNotFoundError):
    """A file or folder that was asked for is not there."""

    __str__ = Exception.__str__   # OSError would print only its first two arguments


class UnreadableImageError(InputError):
    """An image turned out to be unreadable in the middle of an epoch, which only the rank that met it knows."""


class UnknownNameError(InputError, LookupError):
    """A name that no registry and no config tree knows."""


class RunFailedError(Exception):
    """A run that cannot continue, for instance since its loss is not finite."""


class RunInterruptedError(Exception):
    """A run that a signal stopped.

    Args:
        number: of the signal.
        left: what of the run is kept, in words.
    """

    def __init__(self, number: int, left: str) -> None:
        super().__init__(left)
        self.number = number

"""What can go wrong: a mistake in the input (exit status 2) or a run that failed (exit status 1)."""
DONE, FAILED, MISTAKE, INTERRUPTED = 0, 1, 2, 130   # exit statuses of all scripts


class InputError(Exception):
    """A mistake in what the user gave: one message that names file, key or entry and what would have worked."""


class MissingPathError(InputError, FileNotFoundError):
    """A file or folder that was asked for is not there."""

    __str__ = Exception.__str__   # OSError would print only its first two arguments


class UnreadableImageError(InputError):
    """An image turned out to be unreadable in the middle of an epoch, which only the rank that met it knows."""


class UnknownNameError(InputError, LookupError):
    """A name that no registry and no config tree knows."""


class RunFailedError(Exception):
    """A run that began well and cannot go on, such as a loss that is not finite."""

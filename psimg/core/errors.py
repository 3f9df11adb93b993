"""Errors that a user can mend; each message says what is wrong and what to do."""


class PsimgError(Exception):
    """Something the user can mend. The command line prints it in one line and exits with 1."""


class DataError(PsimgError, ValueError):
    """Arrays that do not fit together, or values a stage cannot work with."""


class SettingsError(PsimgError, ValueError):
    """A setting out of its range, or two settings that contradict each other."""


class FileError(PsimgError):
    """A file that is missing, unreadable, of another layout, or cannot be written."""

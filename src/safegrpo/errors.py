"""The few kinds of error safegrpo raises; each is also the standard library's kind.

The command line turns any of them into one line on standard error and exit code 2.
"""


class SafeGRPOError(Exception):
    """Root of everything that is wrong with what the user gave us."""


class ConfigError(SafeGRPOError, ValueError):
    """A recipe or option is unknown, missing or out of range."""


class DataError(SafeGRPOError, ValueError):
    """A row, image or file of data cannot be used as it is."""


class InputFileError(SafeGRPOError, FileNotFoundError):
    """A file or folder that was named does not exist."""


class ModelError(SafeGRPOError, ValueError):
    """A model directory is not one that can be used here."""


class MissingDependencyError(SafeGRPOError, ImportError):
    """An optional package is needed; the message ends with the line that installs it."""

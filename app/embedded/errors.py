from app.errors import CoreError


class EmbeddedError(CoreError):
    """The embedded system cannot start or go on; the message says why and what to do."""


class DirectoryInUseError(EmbeddedError):
    """Another process holds the data directory."""


class NotReadyError(EmbeddedError):
    """A child process did not become ready; the message ends with the last lines of its output."""

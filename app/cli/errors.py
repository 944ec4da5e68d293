"""What goes wrong in a command, in words for whoever typed it."""


class CommandError(Exception):
    """The command cannot go on: what is wrong, what to do about it, and the exit code."""

    code = 1

    def __init__(self, what: str, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint


class InterruptedCommandError(CommandError):
    """Whoever typed the command has stopped it."""

    code = 130


class UnreachableError(CommandError):
    """The system does not answer now; it may soon."""

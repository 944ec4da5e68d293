"""What goes wrong in a command, in words for whoever typed it."""


class CommandError(Exception):
    """The command cannot go on: what is wrong, and what to do about it."""

    def __init__(self, what: str, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint


class UnreachableError(CommandError):
    """The system does not answer now; it may soon."""

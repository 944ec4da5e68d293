"""What goes wrong with demo data and demo traffic."""

from app.errors import CoreError


class DemoError(CoreError):
    """The demo cannot go on: what is wrong, and what to do about it."""

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what)
        self.hint = hint

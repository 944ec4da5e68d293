"""The faults that the service reports to its callers. They know no HTTP: `web/problems.py` maps them."""

from dataclasses import dataclass


class CoreError(Exception):
    """Every fault that a caller may be told of; the message is meant for them."""


class NotFoundError(CoreError):
    """What was asked for does not exist."""


@dataclass(frozen=True)
class Fault:
    """One thing wrong with an input: where (a path such as ``events/3/id``) and what."""

    where: str
    message: str


class InvalidInputError(CoreError):
    """The input can be read but breaks a rule; every fault is listed."""

    def __init__(self, message: str, faults: list[Fault] | None = None) -> None:
        super().__init__(message)
        self.faults = faults or []


class ConflictError(CoreError):
    """The state does not allow it now.

    `instance` is the path of what stands in the way, where there is one; `faults` lists everything that does, where
    many things were asked for at once.
    """

    def __init__(
        self, message: str, instance: str | None = None, *, faults: list[Fault] | None = None
    ) -> None:
        super().__init__(message)
        self.instance = instance
        self.faults = faults or []


class StoreUnavailableError(CoreError):
    """A store does not answer; nothing was changed and the call may be repeated."""


class ForbiddenError(CoreError):
    """The caller may do this, but not to that."""


class BusyError(CoreError):
    """There is no room for more of this now; nothing was changed, and `retry_after` seconds later it may be tried again."""

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after

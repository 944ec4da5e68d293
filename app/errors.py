"""The faults that the service reports to its callers. They know no HTTP: `web/problems.py` maps them."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

FAULT = "fault"
"""In the `extra` of a Meta: what is said of a value that breaks it, instead of msgspec's own words."""
MOST_FAULTS = 100


class CoreError(Exception):
    """Every fault that a caller may be told of; the message is meant for them."""


class NotFoundError(CoreError):
    """What was asked for does not exist."""


@dataclass(frozen=True)
class Fault:
    """One thing wrong with an input: where (a path such as ``events/3/id``) and what."""

    where: str
    message: str


def first_of(faults: Iterable[Fault]) -> list[Fault]:
    """The first hundred, and one that says that there are more: whoever sends nonsense gets no more back than that.

    Looks at no fault after those.
    """
    told = list(islice(faults, MOST_FAULTS + 1))
    if len(told) > MOST_FAULTS:
        told[-1] = Fault(
            told[-1].where, f"is wrong too, and more may be: {MOST_FAULTS} faults are told at once"
        )
    return told


class InvalidInputError(CoreError):
    """The input can be read but breaks a rule; every fault is listed, see `first_of`."""

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

"""Where ticks are sent: what the scheduler asks of a message broker, whichever it is."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from app.errors import CoreError, StoreUnavailableError


class UnknownActorError(CoreError):
    """No actor of that name is declared: a message to it would be a dead letter."""


class OutletAwayError(StoreUnavailableError):
    """The broker does not answer. Whether it took the message is not known: ask again."""


@dataclass(frozen=True)
class Order:
    """A message to send: which actor with which keyword arguments, and the tick it stands for."""

    schedule: str
    tick: datetime
    actor: str
    args: dict[str, Any]


class Outlet(Protocol):
    """Takes each (schedule, tick) at most once, or never once it was withdrawn. Each answer is final.

    Both return when the broker took the order, now or at an earlier call, by its clock; None where it was
    withdrawn and never will be taken. Both raise OutletAwayError; `send` also raises UnknownActorError.
    """

    async def send(self, order: Order) -> datetime | None: ...

    async def withdraw(self, order: Order) -> datetime | None: ...

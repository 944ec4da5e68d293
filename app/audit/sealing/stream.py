"""What the sealer reads of the audit store: pages of entries as they are stored, checked for gaps, and seals."""

from dataclasses import dataclass
from typing import Any, Self

from redis.asyncio import Redis
from redis.client import NEVER_DECODE
from redis.exceptions import ResponseError

from app.audit.sealing.seals import Seal
from app.errors import CoreError

_FIELD = b"entry"
_SEAL = b"seal"


class ChainBrokenError(CoreError):
    """The audit store does not hold what was sealed, or not what the service appended; nothing is sealed over it.

    `place` names where, always in the same words for the same break.
    """

    def __init__(self, place: str, message: str) -> None:
        super().__init__(f"{place}: {message}")
        self.place = place


@dataclass(frozen=True)
class Stream:
    """The entries and seals in Redis."""

    redis: Redis
    prefix: str

    @classmethod
    def of(cls, redis: Redis, namespace: str) -> Self:
        """Read with the connections of `redis`, but answers as they come: bytes, and every field of an entry."""
        reader = Redis(connection_pool=redis.connection_pool)
        for command in ("XRANGE", "XREVRANGE"):
            reader.set_response_callback(command, lambda response, **_options: response)
        return cls(reader, f"{namespace}:audit")

    async def after(self, last: int, count: int) -> list[bytes]:
        """At most `count` entries after this sequence number. Raises ChainBrokenError where they have a gap."""
        # From what an id may hold beyond the last one, so that nothing hides between two numbers.
        return _gapless(await self._command("XRANGE", "entries", f"({last}-0", "+", count), last + 1)

    async def between(self, first: int, last: int) -> list[bytes]:
        """The entries from one number to another; as many as there are. Raises as `after`."""
        return _gapless(
            await self._command("XRANGE", "entries", f"{first}-0", str(last), last - first + 2), first
        )

    async def counted(self) -> int:
        """How many entries the service has appended, by its own counter."""
        return int(await self.redis.get(f"{self.prefix}:sequence") or 0)

    async def last_place(self) -> str:
        """The id of the last entry that is there; `0-0` where none is."""
        newest = await self._command("XREVRANGE", "entries", "+", "-", 1)
        return newest[0][0].decode() if newest else "0-0"

    async def unsealed(self) -> int:
        """How many entries Redis's newest seal does not cover. Raises ValueError where that is no seal."""
        last = await self.last_sealed()
        return await self.counted() - last

    async def last_sealed(self) -> int:
        """The last entry that Redis's newest seal covers. Raises ValueError where that is no seal."""
        newest = await self.newest_seal()
        return Seal.read(newest[1]).last if newest else 0

    async def newest_seal(self) -> tuple[int, str] | None:
        """Number and text of the newest seal."""
        newest = await self._command("XREVRANGE", "seals", "+", "-", 1)
        return (int(newest[0][0].partition(b"-")[0]), _text(newest[0][1])) if newest else None

    async def add_seal(self, number: int, text: str) -> None:
        """Keep a seal; one that another sealer has kept in the meantime is left as it is.

        Raises ChainBrokenError where Redis has had another one with this number, or a later one.
        """
        try:
            await self.redis.xadd(f"{self.prefix}:seals", {"seal": text}, id=f"{number}-0")
        except ResponseError as error:
            if "equal or smaller" not in str(error):
                raise
            held = await self._command("XRANGE", "seals", f"{number}-0", f"{number}-0", 1)
            if [_text(fields) for _place, fields in held] != [text]:
                raise ChainBrokenError(
                    f"seal {number}", "Redis does not take it: it has had this number, or a later one, before"
                ) from error

    async def _command(self, *command: Any) -> Any:
        verb, name, start, end, count = command
        execute: Any = self.redis.execute_command
        return await execute(
            verb, f"{self.prefix}:{name}", start, end, "COUNT", count, **{NEVER_DECODE: True}
        )


def _gapless(page: list[tuple[bytes, list[bytes]]], first: int) -> list[bytes]:
    bodies = []
    for sequence, (place, fields) in enumerate(page, first):
        if place != b"%d-0" % sequence:
            raise ChainBrokenError(f"entry {sequence}", f"{place.decode()} stands in its place")
        if len(fields) != 2 or fields[0] != _FIELD:  # noqa: PLR2004  (a name and a value)
            raise ChainBrokenError(f"entry {sequence}", "it does not have the one field that entries have")
        bodies.append(fields[1])
    return bodies


def _text(fields: list[bytes]) -> str:
    """A seal's text; where there is none, text that is no seal's."""
    return fields[1].decode(errors="replace") if len(fields) == 2 and fields[0] == _SEAL else ""  # noqa: PLR2004

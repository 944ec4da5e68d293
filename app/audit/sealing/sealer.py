"""Seals what is new in the audit store, in batches, each chained to the one before it.

The core DB keeps a seal first: its primary key decides which of two sealers has made the next one. Redis gets a copy.
A sealer that dies in between leaves one seal without its copy, never more, since none goes on before the copy is there;
the next turn makes it. The other way round two sealers could both have put a seal into Redis, or a seal could lie
there that the core DB never came to know of.
"""

from dataclasses import dataclass
from typing import Any, Self

import asyncpg

from app.audit.sealing.keys import Keyring
from app.audit.sealing.merkle import leaf_data, leaf_of, root_of
from app.audit.sealing.seals import FIRST_PREVIOUS, Seal, hash_of, is_trusted
from app.audit.sealing.stream import ChainBrokenError, Stream
from app.clock import Clock, now

BATCH = 1000
"""Entries that one seal covers at most."""

_HASH_BYTES = 32
_LAST = "SELECT number, seal, leaves FROM audit_seals ORDER BY number DESC LIMIT 1"
_KEEP = """
    INSERT INTO audit_seals (number, first_sequence, last_sequence, seal, leaves) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT DO NOTHING RETURNING number
"""


@dataclass(frozen=True)
class Link:
    """The end of the chain as it is: what the next seal follows."""

    number: int
    last: int
    hash: bytes

    @classmethod
    def to(cls, seal: Seal, text: str) -> Self:
        return cls(seal.number, seal.last, hash_of(text))


_START = Link(0, 0, FIRST_PREVIOUS)


@dataclass(frozen=True)
class Sealer:
    """Reads `stream`, keeps seals in `core` and, as copies, in `stream`."""

    core: asyncpg.Pool
    stream: Stream
    keys: Keyring
    clock: Clock = now

    async def seal_new(self) -> int:
        """Seal every entry that is not sealed yet; answers how many this call has sealed.

        Raises ChainBrokenError where the end of the chain does not hold, and what the stores' drivers raise.
        """
        link, sealed = await self._end_of_chain(), 0
        await self._check_count()
        while page := await self.stream.after(link.last, BATCH):
            made = await self._seal(link, page)
            if made is None:  # another sealer was first: go on behind it
                link = await self._end_of_chain()
                continue
            link, sealed = made, sealed + len(page)
            if len(page) < BATCH:
                break
        return sealed

    async def _seal(self, link: Link, page: list[bytes]) -> Link | None:
        """Keep a seal of the page; None where another sealer was first."""
        leaves = _leaves(page, link.last + 1)
        seal = Seal(
            number=link.number + 1,
            first=link.last + 1,
            last=link.last + len(page),
            root=root_of(leaves),
            previous=link.hash,
            time=self.clock(),
            key=self.keys.id,
        )
        text = seal.signed_by(self.keys)
        if not await self.core.fetchval(_KEEP, seal.number, seal.first, seal.last, text, b"".join(leaves)):
            return None
        await self.stream.add_seal(seal.number, text)
        return Link.to(seal, text)

    async def _end_of_chain(self) -> Link:
        """The last seal, once it is known to hold: signed, in both stores, and its entries what they were."""
        row = await self._last_in_both()
        if row is None:
            return _START
        place = f"seal {row['number']}"
        try:
            trusted, seal = is_trusted(row["seal"], self.keys), Seal.read(row["seal"])
        except ValueError as error:
            raise ChainBrokenError(place, f"it cannot be read: {error}") from error
        if not trusted or seal.number != row["number"]:
            raise ChainBrokenError(place, "its signature is not that of a trusted key")
        await self._check_entries(seal, row["leaves"])
        return Link.to(seal, row["seal"])

    async def _last_in_both(self) -> Any:
        """The last seal. See that Redis has it too; the very last one may lack its copy, which is made up for."""
        row, newest = await self._look()
        while newest and newest[0] > (number := _number(row)):
            # Another sealer has gone on between the two looks; then the core DB knows by now.
            row, newest = await self._look()
            if _number(row) == number:
                break
        number, there = _number(row), newest[0] if newest else 0
        if there == number - 1:
            await self.stream.add_seal(number, row["seal"])
        elif there != number:
            raise ChainBrokenError(
                f"seal {min(number, there) + 1}",
                f"Redis has seals up to {there}, the core DB up to {number}",
            )
        elif newest and newest[1] != row["seal"]:
            raise ChainBrokenError(f"seal {number}", "Redis and the core DB have different ones")
        return row

    async def _look(self) -> tuple[Any, tuple[int, str] | None]:
        # In this order: the core DB has every seal before Redis has.
        return await self.core.fetchrow(_LAST), await self.stream.newest_seal()

    async def _check_entries(self, seal: Seal, kept: bytes | None) -> None:
        page = await self.stream.between(seal.first, seal.last)
        there, sealed = len(page), seal.last - seal.first + 1
        if there < sealed:
            raise ChainBrokenError(
                f"entry {seal.first + there}", f"it is gone, but seal {seal.number} covers it"
            )
        leaves = _leaves(page, seal.first)
        if root_of(leaves) != seal.root:
            raise ChainBrokenError(
                _first_difference(seal, leaves, kept), f"it is not what seal {seal.number} has sealed"
            )

    async def _check_count(self) -> None:
        """See that the last entry is the last one counted; entries may come meanwhile, so it is counted twice."""
        before, place, after = (
            await self.stream.counted(),
            await self.stream.last_place(),
            await self.stream.counted(),
        )
        sequence, _, rest = place.partition("-")
        if rest != "0" or not before <= int(sequence) <= after:
            raise ChainBrokenError(
                f"entry {after}", f"it is the last one counted, but the last one there is {place}"
            )


def _number(row: Any) -> int:
    return int(row["number"]) if row else 0


def _leaves(page: list[bytes], first: int) -> list[bytes]:
    return [leaf_of(leaf_data(sequence, entry)) for sequence, entry in enumerate(page, first)]


def _first_difference(seal: Seal, leaves: list[bytes], kept: bytes | None) -> str:
    for index, leaf in enumerate(leaves if kept else ()):
        if kept and kept[index * _HASH_BYTES : (index + 1) * _HASH_BYTES] != leaf:
            return f"entry {seal.first + index}"
    return f"one of the entries {seal.first} to {seal.last}"

"""Values that nobody can read any more: told with what was verified, for the seals hold all the same.

An entry with personal values names the keys that these are encrypted with, each with a check value. A destroyed key has
left its row in the core DB without the key, and a fact in the audit store that names it; anything else is a fault.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar
from uuid import UUID

import msgspec

from app.audit.verification.report import Finding, Wrong
from app.audit.verification.stores import Evidence

_MARK = b'"personal":{'
_FORGOTTEN = b'"name":"operator:person:forget"'
T = TypeVar("T")
# Entries whose keys are looked up together.
_AT_ONCE = 2000


class _Named(msgspec.Struct):
    """Whose values an entry holds, and by which keys. Entries of before there were check values have none."""

    persons: list[str]
    keys: list[UUID] = []
    checks: list[bytes] = []


class _Holding(msgspec.Struct):
    """All that is looked at inside an entry that holds personal values."""

    personal: _Named


class _Destroyed(msgspec.Struct):
    """Which key was destroyed when somebody was forgotten, if there was one."""

    key: UUID | None


class _Forgetting(msgspec.Struct):
    """All that is looked at inside a fact that somebody was forgotten."""

    detail: _Destroyed


@dataclass
class Persons:
    """Counts the entries on the way whose values are erased, and finds what erased them unseen."""

    evidence: Evidence
    entries: int = 0
    erased: dict[UUID, tuple[int, str]] = field(default_factory=dict)
    """Destroyed keys, each with the first entry that needs it and its person."""
    found: list[Finding] = field(default_factory=list)
    _told: set[UUID] = field(default_factory=set)
    _waiting: list[tuple[int, _Named]] = field(default_factory=list)

    @property
    def erased_persons(self) -> int:
        """Persons with erased values."""
        return len({person for _, person in self.erased.values()})

    async def take(self, first: int, bodies: Iterable[bytes]) -> None:
        """Look at entries, the first of which has this number. Raises StoreUnavailableError."""
        self._waiting += self._holding(first, bodies)
        if len(self._waiting) >= _AT_ONCE:
            await self._look_up()

    async def judge(self, *, complete: bool) -> None:
        """Say what is wrong. Who was forgotten is known only once everything was read. Raises StoreUnavailableError."""
        await self._look_up()
        silent = await self.evidence.unrecorded(self.erased.keys() - self._told if complete else ())
        self.found += [_silent(*each) for each in sorted(self.erased[key] for key in silent)[:1]]

    def _holding(self, first: int, bodies: Iterable[bytes]) -> Iterator[tuple[int, _Named]]:
        for sequence, body in enumerate(bodies, first):
            if _MARK in body and (holding := _read(body, _Holding)) is not None:
                yield sequence, holding.personal
            elif _FORGOTTEN in body and (fact := _read(body, _Forgetting)) is not None and fact.detail.key:
                self._told.add(fact.detail.key)

    async def _look_up(self) -> None:
        waiting, self._waiting = self._waiting, []
        checks = await self.evidence.keys({key for _, named in waiting for key in named.keys})
        for sequence, named in waiting:
            gone = [each for each in _keys(named) if not _holds(checks.get(each[1]), each[2])]
            self.entries += bool(gone)
            for person, key, _check in gone:
                if key in checks and checks[key] is None:
                    self.erased.setdefault(key, (sequence, person))
                elif not self.found:
                    self.found.append(_changed(sequence, key) if key in checks else _lost(sequence, key))


def _keys(named: _Named) -> Iterator[tuple[str, UUID, bytes | None]]:
    """Each person with their key, and its check value where the entry has one."""
    for at, (person, key) in enumerate(zip(named.persons, named.keys, strict=False)):
        yield person, key, named.checks[at] if at < len(named.checks) else None


def _holds(there: bytes | None, wanted: bytes | None) -> bool:
    return there is not None and wanted in {there, None}


def _read(body: bytes, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError:
        return None


def _lost(sequence: int, key: UUID) -> Finding:
    return Finding(
        wrong=Wrong.KEY_GONE,
        message=f"entry {sequence}: the core DB has no row of the key {key} that its personal values are encrypted with: "
        "nobody can read them, and nobody has recorded that they were to be erased",
        entry=sequence,
    )


def _changed(sequence: int, key: UUID) -> Finding:
    return Finding(
        wrong=Wrong.KEY_CHANGED,
        message=f"entry {sequence}: the core DB has another key in place of {key} that its personal values are encrypted with: "
        "nobody can read them, and nobody has recorded that they were to be erased",
        entry=sequence,
    )


def _silent(sequence: int, person: str) -> Finding:
    return Finding(
        wrong=Wrong.ERASED_UNSEEN,
        message=f"entry {sequence}: the key of {person} was destroyed, and no fact says who wanted that",
        entry=sequence,
    )

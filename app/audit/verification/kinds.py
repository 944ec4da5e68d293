"""Entries that are of no known kind: told with what was verified, for the seals hold all the same."""

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

_KINDS = {"intent", "outcome", "fact"}


class _Entry(msgspec.Struct):
    """All that is looked at inside an entry: its kind, with a version behind a dot."""

    type: str


@dataclass
class Kinds:
    """Counts what lies in the place of an entry and is none: nothing of the service's, or of a version yet to come."""

    unknown: int = 0
    first: int | None = None
    """The first of them."""

    def take(self, first: int, bodies: Iterable[bytes]) -> None:
        """Look at entries, the first of which has this number."""
        for sequence, body in enumerate(bodies, first):
            if not _is_known(body):
                self.unknown += 1
                self.first = self.first or sequence


def _is_known(body: bytes) -> bool:
    try:
        return msgspec.json.decode(body, type=_Entry).type.partition(".")[0] in _KINDS
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return False

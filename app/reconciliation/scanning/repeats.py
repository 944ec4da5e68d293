"""Which documents of a batch hold a field more than once.

MongoDB stores such documents as some drivers send them. The column decoder appends a field as often as it comes, and
so moves the values of later documents. All documents are walked side by side, one element of each at a time: positions
are columns, so that a batch costs a few operations per field, not per document.
"""

from collections.abc import Iterator
from struct import Struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.intp]
# Names to look at: each with those below it, or with anything else where nothing below it is read.
Tree = dict[str, Any]

_length_at = Struct("<i").unpack_from
_WORD = 8
_SUBDOCUMENT = 0x03
# Bytes of the value, by the type byte of its element.
_FIXED = {
    0x01: 8, 0x06: 0, 0x07: 12, 0x08: 1, 0x09: 8, 0x0A: 0, 0x10: 4, 0x11: 8, 0x12: 8, 0x13: 16, 0x7F: 0, 0xFF: 0,
}  # fmt: skip
# Bytes of the value besides as many as its first four tell.
_BESIDE_LENGTH = {0x02: 4, 0x03: 0, 0x04: 0, 0x05: 5, 0x0C: 16, 0x0D: 4, 0x0E: 4, 0x0F: 0}
_SIZED = _FIXED.keys() | _BESIDE_LENGTH.keys()
# Documents that differ more than this in what comes next are not worth walking side by side.
_MOST_HEADS = 64
_NO_HEAD = b"\0"
_BYTE, _LENGTH = np.uint64(0xFF), np.uint64(0xFFFFFFFF)


def starts_of(raw: bytes) -> Positions:
    """Where each document of a batch begins."""
    found = []
    at = 0
    while at < len(raw):
        found.append(at)
        at += _length_at(raw, at)[0]
    return np.array(found, np.intp)


def repeating(raw: bytes, starts: Positions, names: Tree) -> set[int]:
    """The indexes of the documents in which one of these fields comes more than once.

    Also of the few that cannot be walked side by side with others, whatever they hold.
    """
    walk = _Walk(raw, len(starts))
    levels = [(np.arange(len(starts)), starts + 4, names)]
    while levels:
        levels += walk.level(*levels.pop())
    return set(np.flatnonzero(walk.found).tolist())


class _Walk:
    """One pass through a batch; `found` marks the documents to name."""

    def __init__(self, raw: bytes, documents: int) -> None:
        self.found = np.zeros(documents, bool)
        # Behind the last document nothing follows, as at the end of every one.
        self._end = len(raw)
        self._raw = raw + bytes(_WORD)
        self._words = np.ndarray((len(raw) + 1,), "<u8", self._raw, strides=(1,))

    def level(
        self, documents: Positions, at: Positions, names: Tree
    ) -> Iterator[tuple[Positions, Positions, Tree]]:
        """Walk these documents, or subdocuments of them, from `at` to their ends; yields what to walk below them."""
        columns = {name.encode(): index for index, name in enumerate(names)}
        seen = np.zeros((len(columns), len(documents)), bool)
        going = np.arange(len(documents))
        while len(going := going[self._words[at[going]] & _BYTE != 0]):
            for head, group, values in self._alike(going, at[going]):
                at[group] = self._behind(head[0], values)
                column = columns.get(head[1:-1])
                if head[0] not in _SIZED:
                    self.found[documents[group]] = True
                elif column is not None:
                    self.found[documents[group]] |= seen[column, group]
                    seen[column, group] = True
                    below = names[head[1:-1].decode()]
                    if head[0] == _SUBDOCUMENT and isinstance(below, dict):
                        yield documents[group], values + 4, below

    def _alike(self, going: Positions, at: Positions) -> Iterator[tuple[bytes, Positions, Positions]]:
        """Those whose next elements have the same type and name, group by group: these bytes, who, and their values."""
        for _ in range(_MOST_HEADS):
            if not len(going):
                return
            head = self._raw[at[0] : self._raw.index(b"\0", at[0] + 1) + 1]
            same = self._have(head, at)
            if same.all():
                yield head, going, at + len(head)
                return
            yield head, going[same], at[same] + len(head)
            going, at = going[~same], at[~same]
        yield _NO_HEAD, going, at

    def _have(self, head: bytes, at: Positions) -> NDArray[np.bool_]:
        """At which positions these bytes stand."""
        same = np.ones(len(at), bool)
        for offset in range(0, len(head), _WORD):
            part = head[offset : offset + _WORD]
            # Where the bytes before differ, the end of the batch may be near.
            places = at + offset if same.all() else np.where(same, at + offset, 0)
            unlike = self._words[places] ^ np.uint64(int.from_bytes(part, "little"))
            same &= unlike << np.uint64(8 * (_WORD - len(part))) == 0
        return same

    def _behind(self, kind: int, values: Positions) -> Positions:
        """Where the next elements begin; the end of everything where that cannot be told."""
        if kind not in _SIZED:
            return np.full_like(values, self._end)
        if kind in _FIXED:
            return values + _FIXED[kind]
        return values + (self._words[values] & _LENGTH).astype(np.intp) + _BESIDE_LENGTH[kind]

"""Whatever is done at whatever place of a seal, the first entry that is not as sealed is the one named."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.audit.verification.diagnosis import Batch
from app.audit.verification.merkle import leaf_hash, tree_root
from app.audit.verification.seals import SealRead
from app.audit.verification.stores import Stored

FIRST = 101
FORGED = [b"entry", b"forged"]
AFTER = 3  # entries that follow those of the seal


def entries(count: int) -> list[Stored]:
    return [(b"%d-0" % number, [b"entry", b"body %d" % number]) for number in range(FIRST, FIRST + count)]


def renumbered(stored: list[Stored]) -> list[Stored]:
    return [(b"%d-0" % number, fields) for number, (_place, fields) in enumerate(stored, FIRST)]


def batch(sealed: list[Stored], count: int, there: list[Stored], *, kept: bool = True) -> Batch:
    leaves = [leaf_hash(number, fields[1]) for number, (_, fields) in enumerate(sealed[:count], FIRST)]
    last = FIRST + count - 1
    seal: Any = SealRead(b"", b"", 7, FIRST, last, tree_root(leaves), b"", "", "", b"")
    found = [each for each in there if int(each[0].split(b"-")[0]) <= last][: count + 1]
    following = there[len(found)] if len(there) > len(found) else None
    return Batch(seal, found, following, b"".join(leaves) if kept else None, copied=True)


def edited(there: list[Stored], at: int, _other: int) -> list[Stored]:
    return [*there[:at], (there[at][0], FORGED), *there[at + 1 :]]


def deleted(there: list[Stored], at: int, _other: int) -> list[Stored]:
    return [*there[:at], *there[at + 1 :]]


def moved_up(there: list[Stored], at: int, other: int) -> list[Stored]:
    return renumbered(deleted(there, at, other))


def moved_down(there: list[Stored], at: int, _other: int) -> list[Stored]:
    return renumbered([*there[:at], (b"", FORGED), *there[at:]])


def inserted(there: list[Stored], at: int, _other: int) -> list[Stored]:
    return [*there[:at], (b"%d-5" % (FIRST + at - 1), FORGED), *there[at:]]


def reordered(there: list[Stored], at: int, other: int) -> list[Stored]:
    bodies = [fields for _place, fields in there]
    bodies[at], bodies[other] = bodies[other], bodies[at]
    return [(place, fields) for (place, _), fields in zip(there, bodies, strict=True)]


def cut(there: list[Stored], at: int, _other: int) -> list[Stored]:
    return there[:at]


def forked(there: list[Stored], at: int, _other: int) -> list[Stored]:
    return [*there[:at], *((place, [b"entry", fields[1] + b"!"]) for place, fields in there[at:])]


@given(st.data())
@pytest.mark.parametrize(
    ("done", "wrong"),
    [
        (edited, "edited"), (deleted, "deleted"), (moved_up, "deleted"), (moved_down, "inserted"),
        (inserted, "inserted"), (reordered, "reordered"), (cut, "cut"), (forked, "forked"),
    ],
)  # fmt: skip
def test_the_first_entry_that_is_not_as_sealed_is_named(done: Any, wrong: str, data: st.DataObject) -> None:
    count = data.draw(st.integers(2, 12))
    # What lies between two numbers before the first entry of a seal is found with the seal before it.
    at = data.draw(st.integers(1 if done is inserted else 0, count - (2 if done is reordered else 1)))
    other = data.draw(st.integers(min(at + 1, count - 1), count - 1))
    sealed = entries(count + AFTER)
    finding = batch(sealed, count, done(list(sealed), at, other)).finding()
    assert finding.entry == FIRST + at
    if at < count - 2:  # beside the end of a seal some things look alike
        assert finding.wrong == wrong


@pytest.mark.parametrize("kept", [True, False])
def test_without_leaf_hashes_an_edit_is_known_of_and_a_gap_is_still_named(kept: bool) -> None:
    sealed = entries(8)
    there = list(sealed)
    there[3] = (there[3][0], FORGED)
    finding = batch(sealed, 5, there, kept=kept).finding()
    assert (finding.wrong, finding.entry) == (("edited", FIRST + 3) if kept else ("changed", FIRST))
    del there[1]
    finding = batch(sealed, 5, there, kept=kept).finding()
    assert (finding.wrong, finding.entry) == ("deleted", FIRST + 1)

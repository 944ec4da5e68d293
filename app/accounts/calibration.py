"""What a hash of a password costs on this machine, and which cost to choose (RFC 9106, section 4)."""

import os
import time
from collections.abc import Callable, Iterator

from msgspec import Struct

from app.accounts.hashing import FLOOR, RECOMMENDED, Cost, Hasher, Peppers

WORTH_SECONDS = 0.5
"""Longer than this nobody should wait for a login."""

_TRIES = 3
_MEGABYTES = (19, 46, 64, 128, 256)
_MOST_PASSES = 10
_PEPPERS = Peppers({"none": bytes(32)}, current="none")


class Measured(Struct, frozen=True):
    """A cost, the seconds that one hash of it takes when nobody else hashes, and how many a second the machine can do."""

    cost: Cost
    seconds: float
    per_second: float


def measure(cost: Cost) -> Measured:
    """The best of a few tries."""
    hasher = Hasher(cost, _PEPPERS)
    seconds = min(_timed(hasher) for _ in range(_TRIES))
    # Lanes are computed side by side, as far as there are cores for them.
    at_once = max(1.0, (os.cpu_count() or 1) / cost.lanes)
    return Measured(cost, seconds, at_once / seconds)


def candidates() -> Iterator[Cost]:
    """Costs worth a look: the floor, more and more memory, the recommended number of passes and lanes."""
    yield FLOOR
    for megabytes in _MEGABYTES:
        yield RECOMMENDED._replace(memory=megabytes * 1024)


def propose(
    megabytes: int, at_once: int, measured: Callable[[Cost], Measured] = measure
) -> tuple[list[Measured], Cost]:
    """What was measured, and the strongest cost of which a hash takes at most half a second.

    So many at once must fit into the memory. The recommended cost where it is among them: more memory, then more passes,
    where the machine allows it; less where it does not.
    """
    looked = [measured(each) for each in candidates() if each.memory * at_once <= megabytes * 1024]
    good = [each.cost for each in looked if each.seconds <= WORTH_SECONDS]
    chosen = max(good, default=FLOOR, key=lambda cost: (cost.memory, cost.passes))
    while chosen.passes < _MOST_PASSES:
        further = measured(chosen._replace(passes=chosen.passes + 1))
        if further.seconds > WORTH_SECONDS:
            break
        looked.append(further)
        chosen = further.cost
    return looked, chosen


def _timed(hasher: Hasher) -> float:
    started = time.perf_counter()
    hasher.verify("a password that is as long as most", None)
    return time.perf_counter() - started

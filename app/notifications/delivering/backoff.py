"""When a mail that could not be handed over is tried again: soon at first, then ever more rarely, and for four hours at least."""

from datetime import datetime, timedelta

FIRST_SECONDS = 10.0
LONGEST_SECONDS = 3600.0
TRIES = 17
"""Hand-overs until a mail is given up: the shortest waits between them add up to more than four hours, the longest to nine."""


def wait_before(tries: int) -> float:
    """The longest wait, in seconds, after so many tries of which the last has failed; the shortest is half of it."""
    return min(FIRST_SECONDS * 2.0 ** (tries - 1), LONGEST_SECONDS)


def next_try(*, tries: int, now: datetime, drawn: float, after: float | None = None) -> datetime | None:
    """When to try again after so many tries (1, 2, …); None: it is given up.

    `after` is how many seconds the service asks to be left alone. `drawn` is a random number from 0 to below 1: it spreads
    what failed at one moment over half of the wait, and behind `after` too.
    """
    if tries >= TRIES:
        return None
    half = wait_before(tries) / 2
    return now + timedelta(seconds=max(half, after or 0.0) + drawn * half)

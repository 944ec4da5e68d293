"""Moments as people give them: an instant, or how long ago."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec

_Instant = Annotated[datetime, msgspec.Meta(tz=True)]
_AGO = re.compile(r"(\d{1,6})(s|m|h|d)")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
SAID = "is an instant with its zone, as 2026-01-31T12:00:00Z, or how long ago, as 90s, 15m, 2h or 7d"


def moment(text: str, instant: datetime) -> datetime:
    """The moment that is meant, in UTC, seen from `instant`; raises ValueError where it is none."""
    try:
        if ago := _AGO.fullmatch(text):
            return instant - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        return msgspec.convert(text, _Instant).astimezone(UTC)
    except (msgspec.ValidationError, OverflowError) as error:
        raise ValueError(SAID) from error

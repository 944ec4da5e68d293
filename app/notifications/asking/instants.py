"""When a mail is to go, as its senders write it: an instant (RFC 3339), or one with the zone that it is meant in (RFC 9557).

What contradicts itself is refused, and so is a time of day that the zone has twice or not at all that day: nobody but the sender
knows which one is meant.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from app.errors import Fault, InvalidInputError
from app.notifications.templates.formatting import zone_of

SAID = (
    "is an instant, as 2027-03-14T15:30:00Z, or one with its zone, as 2027-03-14T16:30:00+01:00[Europe/Madrid]; "
    "beside a zone the offset may be left out"
)
_FORM = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d)[Tt ](?P<time>\d\d:\d\d:\d\d(?:\.\d{1,6})?)"
    r"(?P<offset>[Zz]|[+-]\d\d:\d\d)?(?:\[!?(?P<zone>[A-Za-z0-9_+/-]{1,64})\])?",
    re.ASCII,
)


def instant(text: str, *, where: str) -> datetime:
    """The instant that is meant, in UTC. Raises InvalidInputError that says what would be right.

    An offset beside a zone has to be one that the zone has then; `Z` says nothing of what is local (RFC 9557, section 2.2).
    """
    try:
        return _instant(text)
    except OverflowError:
        raise _refused(where, SAID) from None
    except ValueError as error:
        raise _refused(where, str(error)) from None


def _instant(text: str) -> datetime:
    form = _FORM.fullmatch(text)
    if form is None or not (form["offset"] or form["zone"]):
        raise ValueError(SAID)
    local = _local(f"{form['day']}T{form['time']}")
    offset = _offset(form["offset"])
    if form["zone"] is None:
        return local.replace(tzinfo=timezone(offset or timedelta())).astimezone(UTC)
    zone = zone_of(form["zone"])
    if form["offset"] in ("Z", "z"):
        return local.replace(tzinfo=UTC)
    folds = [local.replace(tzinfo=zone, fold=fold) for fold in (0, 1)]
    return _meant(local, offset, folds, zone).astimezone(UTC)


def _meant(local: datetime, offset: timedelta | None, folds: list[datetime], zone: ZoneInfo) -> datetime:
    """The one time that the clocks of the zone show, and that has the offset where one is given."""
    shown = {each.utcoffset(): each for each in folds if _there(each).replace(tzinfo=None) == local}
    if not shown:
        around = sorted(map(_there, folds))
        raise ValueError(f"is a time that {zone} leaves out that day; {_either(around)} is there")
    if offset is None and len(shown) > 1:
        raise ValueError(f"is a time that {zone} has twice that day: {_either(shown.values())}")
    if offset is None:
        return folds[0]
    if offset not in shown:
        offsets = " or ".join(each.isoformat().removeprefix(local.isoformat()) for each in shown.values())
        raise ValueError(
            f"has an offset that {zone} does not have then: it is at {offsets} at {local.time()}"
        )
    return shown[offset]


def _there(moment: datetime) -> datetime:
    """The same instant, as the clocks of its zone show it: another time of day where they leave this one out."""
    return moment.astimezone(UTC).astimezone(moment.tzinfo)


def _either(moments: Iterable[datetime]) -> str:
    return " or ".join(each.isoformat() for each in moments)


def _local(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(SAID) from None


def _offset(text: str | None) -> timedelta | None:
    if text is None or text in ("Z", "z"):
        return None
    hours, minutes = int(text[1:3]), int(text[4:])
    if hours > 23 or minutes > 59:  # noqa: PLR2004  (of a day, of an hour)
        raise ValueError(SAID)
    size = timedelta(hours=hours, minutes=minutes)
    return -size if text[0] == "-" else size


def _refused(where: str, message: str) -> InvalidInputError:
    return InvalidInputError("no instant that can be kept", [Fault(where, message)])

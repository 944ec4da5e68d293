"""Cron in words, as far as words are shorter than the five fields; https://man7.org/linux/man-pages/man5/crontab.5.html."""

import re

from app.scheduling.cron import ALIASES

_DAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_NUMBER = re.compile(r"\d{1,2}", re.ASCII)
_STEP = re.compile(r"\*/(\d{1,2})", re.ASCII)
_HOUR_MINUTES = 60


def when(cron: str) -> str:
    """When it is due, or the five fields where that would take many words."""
    fields = ALIASES.get(cron.strip().lower(), cron).split()
    return _in_words(*fields) or f"cron {cron}"


def _in_words(minute: str, hour: str, day: str, month: str, weekday: str) -> str | None:
    if (day, month) != ("*", "*"):
        return None
    if hour == weekday == "*":
        return _within_hours(minute)
    if not (_NUMBER.fullmatch(minute) and _NUMBER.fullmatch(hour)):
        return None
    at = f"at {int(hour):02}:{int(minute):02}"
    if weekday == "*":
        return f"every day {at}"
    return f"every {_DAYS[int(weekday)]} {at}" if re.fullmatch("[0-7]", weekday) else None


def _within_hours(minute: str) -> str | None:
    if minute == "*":
        return "every minute"
    if _NUMBER.fullmatch(minute):
        return f"every hour, {int(minute)} minutes past" if int(minute) else "every hour, on the hour"
    step = _STEP.fullmatch(minute)
    # Steps that do not fit into an hour begin anew with each.
    even = step is not None and int(step[1]) and _HOUR_MINUTES % int(step[1]) == 0
    return f"every {step[1]} minutes" if step and even else None

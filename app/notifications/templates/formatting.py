"""Instants, amounts and words as a reader's language and zone spell them: the filters that templates have of ours.

They take what JSON can hold: instants as RFC 3339 has them, days as ISO 8601, amounts as `{"amount": "12.50",
"currency": "EUR"}`. How things are spelled is the CLDR's, through Babel.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any
from zoneinfo import ZoneInfo, available_timezones

import msgspec
from babel import Locale
from babel.dates import format_date, format_time, get_datetime_format, get_timezone_name
from babel.lists import format_list
from babel.numbers import format_currency, format_decimal, is_currency
from jinja2 import pass_context
from jinja2.exceptions import TemplateRuntimeError
from jinja2.runtime import Context, Undefined

from app.scheduling.cron import MADE_UP

LOCALE = "_locale"
WORDS = "_words"
ZONE = "zone"

_Instant = Annotated[datetime, msgspec.Meta(tz=True)]
_NO_INSTANT = "is no instant with its zone, as 2027-03-14T15:30:00Z"
# No zone was ever a whole day from UTC: every one of them can show what lies between these.
_FIRST = datetime.min.replace(tzinfo=UTC) + timedelta(days=1)
_LAST = datetime.max.replace(tzinfo=UTC) - timedelta(days=1)
_DECIMAL = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,10})?")
_ZONES = frozenset(available_timezones()) - MADE_UP
# Narrow no-break spaces, which CLDR has in times, are boxes in older mail programs.
_SPACES = str.maketrans({"\u202f": "\u00a0"})


def instant_of(value: Any) -> datetime:
    """The instant that is spelled so (RFC 3339, with its zone), in UTC.

    Raises ValueError, for what lies within a day of either end of the calendar too.
    """
    try:
        instant = msgspec.convert(value, _Instant).astimezone(UTC)
    except (msgspec.ValidationError, OverflowError) as error:
        raise ValueError(_NO_INSTANT) from error
    if not _FIRST <= instant <= _LAST:
        raise ValueError(_NO_INSTANT)
    return instant


def day_of(value: Any) -> date:
    """The day that is spelled so (ISO 8601); raises ValueError."""
    try:
        return msgspec.convert(value, date)
    except msgspec.ValidationError as error:
        raise ValueError("is no day, as 2027-03-14") from error


def zone_of(value: Any) -> ZoneInfo:
    """The zone of this name in the IANA database; raises ValueError."""
    if value not in _ZONES:
        raise ValueError("is no zone of the IANA database, as Europe/Madrid")
    return ZoneInfo(value)


def decimal_of(value: Any) -> Decimal:
    """The number that is spelled so; raises ValueError."""
    if not isinstance(value, str) or not _DECIMAL.fullmatch(value):
        raise ValueError("is no decimal number in a string, as 1250.00")
    return Decimal(value)


def currency_of(value: Any) -> str:
    """The code of a currency (ISO 4217); raises ValueError."""
    if not isinstance(value, str) or not is_currency(value):
        raise ValueError("is no currency of ISO 4217, as EUR")
    return value


def _formatting(spell: Callable[..., str]) -> Callable[..., str]:
    """A filter: what cannot be spelled stops the rendering, and what it was is not told."""

    @pass_context
    def filtered(context: Context, value: Any, *given: Any) -> str:
        if isinstance(value, Undefined):
            str(value)  # says that it is undefined
        try:
            return spell(context, value, *given).translate(_SPACES)
        except (ValueError, TypeError, KeyError, ArithmeticError) as error:
            # Of a number with too many digits `decimal` tells only the names of its own errors.
            told = "cannot be spelled" if isinstance(error, ArithmeticError) else error
            raise TemplateRuntimeError(
                f"the filter {spell.__name__.strip('_')} was given what {told}"
            ) from error

    return filtered


def _day(context: Context, value: Any) -> str:
    """A day: `Sunday, March 14, 2027`; of an instant the day in the reader's zone."""
    day = instant_of(value).astimezone(_zone(context)).date() if "T" in str(value) else day_of(value)
    return _spelled_day(day, _locale(context))


def _clock(context: Context, value: Any, zone: str | None = None) -> str:
    """The time of day of an instant, and whose: `3:30 PM UTC`."""
    return _spelled_clock(instant_of(value), _zone(context, zone), _locale(context))


def _moment(context: Context, value: Any, zone: str | None = None) -> str:
    """An instant in the reader's zone, or in another one: `Sunday, March 14, 2027, 3:30 PM UTC`."""
    locale = _locale(context)
    instant, there = instant_of(value), _zone(context, zone)
    pattern = str(get_datetime_format("full", locale=locale)).replace("'", "")
    day = _spelled_day(instant.astimezone(there).date(), locale)
    return pattern.replace("{0}", _spelled_clock(instant, there, locale)).replace("{1}", day)


def _money(context: Context, value: Any) -> str:
    """`{"amount": "1250.00", "currency": "EUR"}`: `€1,250.00`."""
    amount, currency = decimal_of(value["amount"]), currency_of(value["currency"])
    return _spelled_money(str(amount), currency, _locale(context))


def _number(context: Context, value: Any) -> str:
    """A number: `1,250`."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # an integer to JSON Schema
    number = value if isinstance(value, int) else decimal_of(value)
    return format_decimal(number, locale=_locale(context))


def _listed(context: Context, value: Any) -> str:
    """Texts in a row: `a, b, and c`."""
    if not isinstance(value, list):
        raise TypeError("is no list")
    return format_list([str(each) for each in value], locale=_locale(context))


def _word(context: Context, value: Any, form: str | None = None) -> str:
    """What a name (`Moon`) is called in the language of the mail, in a form (`to`): `to the Moon`; else the name itself."""
    words: Mapping[str, str] = context[WORDS]
    if form is None:
        return words.get(value, value)
    return words.get(f"{form}.{value}") or words[form].format(words.get(value, value))


# Mails of one order tell the same times and amounts.
_remembered = lru_cache(maxsize=1024)


@_remembered
def _spelled_day(day: date, locale: Locale) -> str:
    return format_date(day, "full", locale=locale)


@_remembered
def _spelled_clock(instant: datetime, zone: ZoneInfo, locale: Locale) -> str:
    there = instant.astimezone(zone)
    name = "UTC" if zone == ZoneInfo("UTC") else f"({get_timezone_name(there, locale=locale)})"
    return f"{format_time(there, 'short', tzinfo=zone, locale=locale)} {name}"


@_remembered
def _spelled_money(amount: str, currency: str, locale: Locale) -> str:
    # By its digits: 0 and -0 are equal, and spelled differently.
    return format_currency(Decimal(amount), currency, locale=locale)


def _zone(context: Context, name: str | None = None) -> ZoneInfo:
    return zone_of(context[ZONE] if name is None else name)


def _locale(context: Context) -> Locale:
    locale: Locale = context[LOCALE]
    return locale


FORMATTING = {
    each.__name__.strip("_"): _formatting(each) for each in (_day, _clock, _moment, _money, _number, _listed, _word)
}  # fmt: skip
"""The filters by name."""

"""The one shape of a log entry, on standard error, in the spool and in the log store, and how it is made.

Whatever is logged becomes an entry: without secrets, of bounded size, and of values that JSON knows.
"""

import traceback
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from config.correlation import current
from config.logged_values import MOST_CHARACTERS, parts_of, text_of, unprintable
from config.redaction import CODE, REDACTED, hides, is_plain, is_secret, is_secret_pair, redact

if TYPE_CHECKING:
    from loguru import Record, RecordException

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

MOST_BYTES = 32_768  # of an entry, as JSON
# Characters of all values of an entry together. JSON takes six bytes for a character at worst, so the second is tried
# when the first came out too long.
_BUDGETS = (24_000, 2_000)
_LONGEST_TEXT = 4_096
_LONGEST_NAME = 200
_LONGEST_STACK = 12_000
_MOST_ITEMS = 100
_DEEPEST = 6
# A text is cut only once it has no secrets any more. Of one that is too long to be looked through, what lies next to
# the cut is dropped, for it may be half a secret; and so is all that follows, for what it belongs to is not seen.
_MARGIN = 1_024
_INT64 = 2**63
_SCALAR = 4  # characters that a number is counted as: six times as many bytes hold any

_NAMED = ("request_id", "message_id", "trace_id", "span_id", "actor", "outcome", "entity", "key")
_TEXTS = frozenset({*_NAMED, "component"})
_OWN = _TEXTS | {"duration_ms"}
_MOST_PLAIN = 16


class LoggedException(msgspec.Struct, frozen=True, omit_defaults=True):
    """An exception as it was logged: its type's name, its message, and the whole stack with every cause."""

    type: str
    message: str
    stack: str


class LogEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """What happened, when and where. `process` and `sequence` name one entry for good: shipped twice, it is kept once.

    `process` is host, process id and eight hex digits drawn when the process started; `sequence` counts from 1 without
    a gap. `time` is aware, UTC, to the millisecond. `event` is one of `config.events.EVENTS` in our own processes.
    `component` is web, worker, scheduler, up or cli, or the name of the API client that sent the entry, which `client`
    names then too. `duration_ms` is in milliseconds. `fields` holds what JSON knows, and everything else as text.
    """

    process: str
    sequence: int
    time: Annotated[datetime, msgspec.Meta(tz=True)]
    level: str
    event: str
    component: str
    request_id: str | None = None
    message_id: str | None = None
    trace_id: str | None = None
    span_id: str | None = None
    actor: str | None = None
    outcome: str | None = None
    duration_ms: float | None = None
    entity: str | None = None
    key: str | None = None
    fields: dict[str, Any] = {}
    exception: LoggedException | None = None
    client: str | None = None


def entry_of(record: "Record", process: str, sequence: int) -> LogEntry:
    """The entry of a loguru record, within the correlation at hand. It never raises, whatever was logged."""
    try:
        return _sound_entry_of(record, process, sequence)
    except Exception as error:  # noqa: BLE001  (an entry is never lost for what it was given)
        return LogEntry(
            process=process,
            sequence=sequence,
            time=_to_the_millisecond(record["time"]),
            level=level_of(record["level"].no),
            event=_Writer(_BUDGETS[1]).name(record["message"]),
            component=_Writer(_BUDGETS[1]).name(record["extra"].get("component", "")),
            fields={"unprintable": type(error).__name__},
        )


def _sound_entry_of(record: "Record", process: str, sequence: int) -> LogEntry:
    plain = _plain_entry_of(record, process, sequence)
    if plain is not None:
        return plain
    entry = _entry_of(record, process, sequence, _BUDGETS[0])
    return entry if _fits(entry) else _entry_of(record, process, sequence, _BUDGETS[1])


def cleaned(entry: LogEntry) -> LogEntry:
    """An entry that was made elsewhere, as it would have been made here: without secrets and of bounded size."""
    made = _cleaned(entry, _BUDGETS[0])
    return made if _fits(made) else _cleaned(entry, _BUDGETS[1])


def level_of(number: int) -> str:
    """The level of an entry for a number as `logging` and loguru count them; between two, the lower one."""
    return LEVELS[min(max(number // 10 - 1, 0), len(LEVELS) - 1)]


def _fits(entry: LogEntry) -> bool:
    return len(msgspec.json.encode(entry)) <= MOST_BYTES


def _plain_entry_of(record: "Record", process: str, sequence: int) -> LogEntry | None:
    """The same entry as `_entry_of` makes, at a third of its cost, for what is logged most: short texts, small numbers.

    None where anything has to be hidden, shortened or told in other words.
    """
    given = _with_correlation(record["extra"])
    if record["exception"] is not None or len(given) > _MOST_PLAIN or not _is_plain_text(record["message"]):
        return None
    named: dict[str, Any] = {"component": ""}
    fields: dict[str, Any] = {}
    for name, value in given.items():
        if value is None:
            continue
        is_text = type(value) is str
        if not (_is_plain_text(value) if is_text else _is_plain_number(value)):
            return None
        if is_text and name in _TEXTS:
            named[name] = value
        elif name == "duration_ms" and not is_text:
            named[name] = round(float(value), 1)
        elif _is_plain_name(name):
            fields[name] = value
        else:
            return None
    return LogEntry(
        process=process,
        sequence=sequence,
        time=_to_the_millisecond(record["time"]),
        level=level_of(record["level"].no),
        event=record["message"],
        fields=fields,
        **named,
    )


def _is_plain_text(text: str) -> bool:
    return len(text) <= _LONGEST_NAME and is_plain(text)


def _is_plain_number(value: object) -> bool:
    return type(value) is float or (type(value) is int and -_INT64 <= value < _INT64)


@lru_cache(maxsize=1024)
def _is_plain_name(name: str) -> bool:
    return name not in _OWN and name != CODE and _is_plain_text(name) and not is_secret(name)


def _entry_of(record: "Record", process: str, sequence: int, budget: int) -> LogEntry:
    given, writer = _with_correlation(record["extra"]), _Writer(budget)
    named = {name: writer.name(given.pop(name)) for name in _NAMED if given.get(name) is not None}
    duration = given.pop("duration_ms", None)
    return LogEntry(
        process=process,
        sequence=sequence,
        time=_to_the_millisecond(record["time"]),
        level=level_of(record["level"].no),
        event=writer.name(record["message"]),
        component=writer.name(given.pop("component", "")),
        duration_ms=_milliseconds(duration),
        exception=writer.exception(record["exception"]),
        fields=writer.fields(given),
        **named,
    )


def _milliseconds(duration: object) -> float | None:
    try:
        return round(float(duration), 1) if isinstance(duration, int | float) else None
    except Exception:  # noqa: BLE001  (a number that is too large, or of a class of its own)
        return None


def _cleaned(entry: LogEntry, budget: int) -> LogEntry:
    writer = _Writer(budget)
    values: dict[str, Any] = {
        name: writer.name(value) for name in _NAMED if (value := getattr(entry, name)) is not None
    }
    if raised := entry.exception:
        values["exception"] = LoggedException(
            writer.name(raised.type),
            writer.text(raised.message),
            writer.text(raised.stack, most=_LONGEST_STACK),
        )
    return msgspec.structs.replace(
        entry, time=_to_the_millisecond(entry.time), fields=writer.fields(entry.fields), **values
    )


def _with_correlation(extra: Mapping[str, Any]) -> dict[str, Any]:
    """What was bound to the entry itself, and what is bound to all that is done here."""
    correlation = current()
    return {**correlation.bound(), **extra} if correlation else dict(extra)


def _to_the_millisecond(moment: datetime) -> datetime:
    # loguru's own class of times is none that the encoder knows.
    if moment.utcoffset():
        moment = moment.astimezone(UTC)
    milliseconds = moment.microsecond // 1000 * 1000
    hour, minute, second = moment.hour, moment.minute, moment.second
    return datetime(moment.year, moment.month, moment.day, hour, minute, second, milliseconds, tzinfo=UTC)


def without_secrets(value: object) -> Any:
    """A value as a field would show it."""
    return _Writer(_BUDGETS[0]).value(None, value)


class _Writer:
    """Turns values into what JSON knows, redacted, until a number of characters is used up."""

    def __init__(self, budget: int) -> None:
        self._left = budget

    def name(self, value: object) -> str:
        """A short value that everybody looks for; it is outside of the budget."""
        return _clip(_redacted(text_of(value)), _LONGEST_NAME)

    def text(self, text: str, *, most: int = _LONGEST_TEXT) -> str:
        """The text without secrets, its middle left out where it is long, within what is left of the budget."""
        text = _clip(_redacted(text), min(most, self._left))
        self._left -= len(text)
        return text

    def exception(self, raised: "RecordException | None") -> LoggedException | None:
        if raised is None or raised.type is None:
            return None
        message, stack = text_of(raised.value), _stack_of(raised)
        return LoggedException(
            self.name(raised.type.__name__), self.text(message), self.text(stack, most=_LONGEST_STACK)
        )

    def fields(self, given: Mapping[str, object]) -> dict[str, Any]:
        return self._mapping({name: value for name, value in given.items() if value is not None}, 0)

    def value(self, name: object, value: object, depth: int = 0) -> Any:
        try:
            return REDACTED if hides(name, value) else self._shown(value, depth)
        except Exception:  # noqa: BLE001  (whatever a value does when it is looked at, its entry must not be lost)
            return unprintable(value)

    def _shown(self, value: object, depth: int) -> Any:
        match value:
            case str() if not isinstance(value, Enum):
                return self.text(text_of(value))
            case None | bool() | int() | float() if not isinstance(value, Enum):
                return self._scalar(value)
            case list() | tuple() if is_secret_pair(value):
                return [self.text(text_of(value[0])), REDACTED]
            case _:
                return self._composed(value, depth + 1)

    def _scalar(self, value: Any) -> Any:
        self._left -= _SCALAR
        if value is None or isinstance(value, bool):
            return value
        # A number of a class of its own, which the encoder does not know, is told as the number that it is.
        if isinstance(value, float):
            return float.__float__(value)
        number = int.__int__(value)
        return number if -_INT64 <= number < _INT64 else self.text(text_of(number))

    def _composed(self, value: object, depth: int) -> Any:
        parts = parts_of(value)
        if parts is None:
            return self.text(text_of(value))
        if depth > _DEEPEST:
            return "…"
        return self._mapping(parts, depth) if isinstance(parts, Mapping) else self._items(parts, depth)

    def _mapping(self, mapping: Mapping[Any, object], depth: int) -> dict[str, Any]:
        written: dict[str, Any] = {}
        for name, value in mapping.items():
            if self._left <= 0 or len(written) == _MOST_ITEMS:
                written["…"] = f"{len(mapping) - len(written)} more"
                break
            shown = self.name(name)
            self._left -= len(shown)
            written[shown] = self.value(name, value, depth)
        return written

    def _items(self, items: Collection[object], depth: int) -> list[Any]:
        written: list[Any] = []
        for item in items:
            if self._left <= 0 or len(written) == _MOST_ITEMS:
                written.append(f"… {len(items) - len(written)} more")
                break
            self._left -= 1
            written.append(self.value(None, item, depth))
        return written


def _redacted(text: str) -> str:
    if len(text) <= MOST_CHARACTERS:
        return redact(text)
    return f"{redact(text[:MOST_CHARACTERS])[:-_MARGIN]} … {len(text) - MOST_CHARACTERS + _MARGIN} more"


def _clip(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    half = max(most - 3, 0) // 2
    return f"{text[:half]} … {text[len(text) - half :]}"[: max(most, 0)]


def _stack_of(raised: "RecordException") -> str:
    try:
        lines = traceback.format_exception(raised.type, raised.value, raised.traceback)
        return text_of("".join(lines))
    except Exception:  # noqa: BLE001  (a chain of causes may be too long to be followed)
        return unprintable(raised.value)

"""An entry as a line for a person: aligned and coloured on a terminal, plain elsewhere."""

from collections.abc import Iterator

from config.log_entries import LogEntry, LoggedException

_EVENT_WIDTH = 24
_COLOURS = {"DEBUG": "2", "INFO": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}
# What a person at a terminal looks for; the ids of the trace are in the store.
_NAMED = ("entity", "key", "outcome", "duration_ms", "actor", "request_id", "message_id")


def line_of(entry: LogEntry, *, coloured: bool) -> str:
    """The entry as one line, and its stack on indented ones; no value makes a line or a colour of its own."""
    shown = [(name, repr(value)) for name, value in entry.fields.items()]
    shown += [(name, repr(value)) for name in _NAMED if (value := getattr(entry, name)) is not None]
    if coloured:
        level, event = _paint(_COLOURS[entry.level], f"{entry.level:<7}"), _one_line(entry.event)
        line = f"{_paint('2', _time(entry))} {level} {event:<{_EVENT_WIDTH}}"
        line = " ".join(
            (line, *(f"{_paint('2', _one_line(name) + '=')}{_one_line(value)}" for name, value in shown))
        )
    else:
        parts = (
            f"{_time(entry)} {entry.level:<7} {entry.event}",
            *[f"{name}={value}" for name, value in shown],
        )
        line = _one_line(" ".join(parts))
    return line if entry.exception is None else "\n".join((line, *_stack(entry.exception)))


def _time(entry: LogEntry) -> str:
    return entry.time.time().isoformat(timespec="milliseconds")


def _stack(exception: LoggedException) -> Iterator[str]:
    yield from (f"    | {_one_line(line)}" for line in exception.stack.rstrip("\n").split("\n"))


def _one_line(text: str) -> str:
    """The text with everything escaped that a terminal would act on or a reader take for the end of the line."""
    return text if text.isprintable() else "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()


def _paint(codes: str, text: str) -> str:
    return f"\x1b[{codes}m{text}\x1b[0m"

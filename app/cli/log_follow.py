"""Following the logs through the server-sent events of the REST API, for as long as anybody watches."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from app.cli import output
from app.cli.client import Api
from app.cli.errors import UnreachableError
from app.logs.views import LogLine

PATIENCE_SECONDS = 60.0  # a watcher outlives the processes that are watched
AGAIN_SECONDS = 1.0
STREAM = ("logs", "stream")
WHY_MISSED = {
    "behind": "they came faster than they were read",
    "trimmed": "they were given up for their age or for want of memory",
    "unreadable": "what the log store holds there cannot be read",
}


@dataclass(frozen=True)
class ServerEvent:
    """One event: the id to go on after, its type, its data. Without data it only tells the id, or that all is well."""

    id: str
    type: str
    data: str


def read_events(chunks: Iterable[bytes]) -> Iterator[ServerEvent]:
    """The events of a stream (https://html.spec.whatwg.org/multipage/server-sent-events.html, section 9.2.6)."""
    last_id, kind, data = "", "", list[str]()
    for line in _lines(chunks):
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "" if not line:
                yield ServerEvent(last_id, kind or "message", "\n".join(data))
                kind, data = "", []
            case "id":
                last_id = value
            case "event":
                kind = value
            case "data":
                data.append(value)
            case _:
                pass


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    # Only these end a line; `str.splitlines` knows more, which may stand in an entry's text.
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.removesuffix(b"\r").decode()


def follow(api: Api, wanted: dict[str, Any], after: int) -> Iterator[LogLine]:
    """Entries as they arrive, after number `after`; what was missed is told on stderr.

    A connection that breaks is made again, and goes on where it broke. Raises UnreachableError after a minute without
    one, and CommandError where the system refuses.
    """
    last_id, heard, lost = str(after), time.monotonic(), False
    while True:
        try:
            with api.stream(STREAM, {"Last-Event-ID": last_id}, **wanted) as chunks:
                for event in read_events(chunks):
                    heard, lost, last_id = time.monotonic(), False, event.id or last_id
                    yield from _entries(event)
        except UnreachableError:
            if time.monotonic() - heard > PATIENCE_SECONDS:
                raise
        if not lost:
            output.stderr().print("the connection is lost; waiting for the system to come back")
        lost = True
        time.sleep(AGAIN_SECONDS)


def _entries(event: ServerEvent) -> Iterator[LogLine]:
    match event:
        case ServerEvent(data=""):
            return
        case ServerEvent(type="missed"):
            missed = msgspec.json.decode(event.data)
            output.stderr().print(
                f"missed {missed['count']:,} entries, number {missed['first']} to {missed['last']}: "
                f"{WHY_MISSED[missed['reason']]}",
                style="yellow",
            )
        case _:
            yield msgspec.json.decode(event.data, type=LogLine)

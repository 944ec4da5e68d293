"""Log entries of API consumers, in one JSON body or one a line."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any

import msgspec
from litestar import Controller, Request, post
from litestar.openapi.spec import Operation, RequestBody
from msgspec import Meta, Struct

from app.accounts.permissions import Scope
from app.clock import now
from app.errors import FAULT, Fault, InvalidInputError
from app.logs.store import LogStore
from config.log_entries import LogEntry, LoggedException, cleaned
from web.guards import Calling, needs
from web.inputs import Accepted
from web.logs.filters import Level
from web.schema import described
from web.stores import Opened
from web.validation import content_type, decode_json, faults_in

NDJSON = "application/x-ndjson"
MOST_ENTRIES = 1000
OURS = ("web", "worker", "scheduler", "up", "cli")

AHEAD = timedelta(days=1)  # how far the clocks of others may be ahead

_WORD = "[a-z][a-z0-9_-]*"
Name = Annotated[str, Meta(min_length=1, max_length=200)]
Event = Annotated[
    str,
    Meta(
        pattern=rf"^{_WORD}\.{_WORD}$(?!\n)",
        max_length=100,
        description="noun.verb",
        extra={FAULT: "must be noun.verb in small letters, in at most 100 characters"},
    ),
]
Component = Annotated[
    str,
    Meta(
        pattern=rf"^(?!({'|'.join(OURS)})$){_WORD}$(?!\n)",
        max_length=100,
        description="the part of your service that logs; not one of ours",
        extra={
            FAULT: f"must be a word in small letters, in at most 100 characters, and none of {', '.join(OURS)}"
        },
    ),
]


class SentException(Struct, forbid_unknown_fields=True, frozen=True):
    """An exception, with its stack as text."""

    type: Name
    message: str = ""
    stack: str = ""


class SentEntry(Struct, forbid_unknown_fields=True, frozen=True):
    """What happened in a service that is not ours. Who sent it is known from the call."""

    event: Event
    component: Component
    level: Level = "INFO"
    time: (
        Annotated[datetime, Meta(tz=True, description="when it happened; now, where it is left out")] | None
    ) = None
    request_id: Name | None = None
    message_id: Name | None = None
    trace_id: Annotated[str, Meta(pattern=r"^[0-9a-f]{32}$(?!\n)")] | None = None
    span_id: Annotated[str, Meta(pattern=r"^[0-9a-f]{16}$(?!\n)")] | None = None
    actor: Name | None = None
    outcome: Name | None = None
    duration_ms: Annotated[float, Meta(ge=0)] | None = None
    entity: Name | None = None
    key: Name | None = None
    fields: dict[str, Any] = {}
    exception: SentException | None = None


class SentEntries(Struct, forbid_unknown_fields=True):
    """One to a thousand entries: all are taken, or none."""

    entries: Annotated[list[SentEntry], Meta(min_length=1, max_length=MOST_ENTRIES)]


_DOCUMENT = msgspec.json.Decoder(SentEntries)
_LINES = msgspec.json.Decoder(SentEntry)
_NUL = b"\\u0000"  # which no store takes in a text, as JSON spells it


class _Document(Struct, forbid_unknown_fields=True):
    """What holds for a JSON body as a whole."""

    entries: Annotated[list[Any], Meta(min_length=1, max_length=MOST_ENTRIES)]


@dataclass
class _Shipping(Operation):
    """The call in /schema, with the body in both spellings: the handler reads it by itself."""

    def __post_init__(self) -> None:
        content = {"application/json": described(SentEntries), NDJSON: described(SentEntry)}
        self.request_body = RequestBody(content=content, required=True)


class ClientLogs(Controller):
    """What API consumers tell of themselves."""

    path = "/logs"
    tags = ("logs",)
    opt = needs(Scope.LOGS_WRITE)

    @post(status_code=202, summary="Ship log entries", operation_class=_Shipping)
    async def ship_logs(self, stores: Opened, caller: Calling, request: Request[Any, Any, Any]) -> Accepted:
        """Takes 1 to 1,000 entries or, where one is malformed, none. They are stored when this is answered.

        Each is stamped with who sent it. What looks like a secret is replaced, and what is too long shortened.
        """
        times = Times(now(), stores.settings.log_days)
        entries = read_entries(await request.body(), content_type(request), times)
        store = LogStore(stores.logs, stores.settings.namespace)
        return Accepted(await store.append_from(caller.client, entries))


@dataclass(frozen=True)
class Times:
    """When an entry may have happened that is sent now: what is older would not be kept either."""

    now: datetime
    days: int

    def hold(self, told: datetime) -> bool:
        return self.now - timedelta(days=self.days) <= told <= self.now + AHEAD


def read_entries(body: bytes, kind: str, times: Times) -> list[LogEntry]:
    """The entries of a body. Raises InvalidInputError with every fault, each with its entry's place or line."""
    # To look for every fault takes ten times as long, in which nobody else is served.
    sent = _sound(body, kind, times)
    return [_entry(each, times.now) for each in (_judged(body, kind, times) if sent is None else sent)]


def _sound(body: bytes, kind: str, times: Times) -> list[SentEntry] | None:
    """The entries of a body that has no fault; None where it may have one."""
    try:
        match kind:
            case "application/json":
                sent = _DOCUMENT.decode(body).entries
            case "application/x-ndjson":
                sent = _LINES.decode_lines(body)
            case _:
                return None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    known = all(each.time is None or times.hold(each.time) for each in sent)
    return sent if known and 1 <= len(sent) <= MOST_ENTRIES and _NUL not in body else None


def _judged(body: bytes, kind: str, times: Times) -> list[SentEntry]:
    found, faults = _in_lines(body) if kind == NDJSON else _in_document(body, kind)
    for where, value in found:
        faults += faults_in(SentEntry, value, where)
        faults += _time_faults(value, where, times)
    if faults:
        raise InvalidInputError(
            "the request breaks a rule" if len(faults) == 1 else "the request breaks rules", faults
        )
    return [msgspec.convert(value, SentEntry) for _, value in found]


Found = tuple[list[tuple[str, Any]], list[Fault]]


def _in_document(body: bytes, kind: str) -> Found:
    value = decode_json(body, kind)
    faults = list(faults_in(_Document, value))
    if {fault.where for fault in faults} & {"body", "entries"}:
        return [], faults
    return [(f"entries/{at}", each) for at, each in enumerate(value["entries"])], faults


def _in_lines(body: bytes) -> Found:
    lines = [(f"lines/{at}", line) for at, line in enumerate(body.split(b"\n"), 1) if line.strip()]
    if not 1 <= len(lines) <= MOST_ENTRIES:
        return [], [
            Fault("body", f"must hold 1 to {MOST_ENTRIES:,} entries, one a line; it holds {len(lines):,}")
        ]
    found, faults = list[tuple[str, Any]](), list[Fault]()
    for where, line in lines:
        try:
            found.append((where, msgspec.json.decode(line)))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            faults.append(Fault(where, f"is no JSON: {error}"))
    return found, faults


def _time_faults(value: Any, where: str, times: Times) -> Iterator[Fault]:
    try:
        told = msgspec.convert(value["time"], datetime)
        if told.tzinfo is not None and not times.hold(told):
            yield Fault(
                f"{where}/time",
                f"must lie within the last {times.days} days, for which entries are kept, or the next one",
            )
    except (TypeError, KeyError, msgspec.ValidationError):
        return  # there is none, or none that can be read: that is told with the rest


def _entry(sent: SentEntry, at: datetime) -> LogEntry:
    values = {name: getattr(sent, name) for name in sent.__struct_fields__}
    values["time"] = sent.time or at
    if raised := sent.exception:
        values["exception"] = LoggedException(raised.type, raised.message, raised.stack)
    return cleaned(LogEntry(process="", sequence=0, **values))

"""The filters that every way of reading the logs takes."""

from datetime import datetime
from typing import Annotated, Literal

from litestar.di import NamedDependency
from litestar.openapi.spec import Example
from litestar.params import QueryParameter, SkipValidation
from msgspec import Meta

from app.clock import now
from app.errors import Fault, InvalidInputError
from app.logs.queries import LogFilter, read_position
from app.moments import SAID, moment
from web.inputs import Cursor, RecordId

Level = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]

# Near enough to tell every fault of a call at once; `app.moments` has the last word.
_MOMENT = (
    r"^([0-9]{1,6}[smhd]|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?"
    r"(Z|[+-][0-9]{2}:[0-9]{2}))$(?!\n)"
)


def _moment(what: str) -> QueryParameter:
    return QueryParameter(
        pattern=_MOMENT,
        description=f"{what}; the moment {SAID}",
        examples=[Example(value=each) for each in ("15m", "2h", "7d", "2026-01-31T12:00:00Z")],
    )


Since = Annotated[str | None, _moment("then or later")]
Until = Annotated[str | None, _moment("then or earlier")]
Text = Annotated[
    list[Annotated[str, Meta(min_length=1, max_length=200)]] | None,
    QueryParameter(
        description="`field:value`, or a part of any value in any case of letters; repeat it to ask for all of them",
        max_items=10,
    ),
]


def _of(what: str) -> QueryParameter:
    return QueryParameter(description=what, min_length=1, max_length=500)


def settle_moment(cursor: Cursor = None) -> datetime:
    """When the first page was asked for, from where `15m` is meant on each page."""
    position = read_position(cursor)
    return now() if position is None else position.asked_at


AskedAt = NamedDependency[SkipValidation[datetime]]


def read_filter(
    *,
    asked_at: AskedAt,
    level: Annotated[Level | None, QueryParameter(description="of this level or above")] = None,
    component: Annotated[
        str | None, _of("the kind of process: web, worker, …, or a client's own name")
    ] = None,
    event: Annotated[str | None, _of("the event's name")] = None,
    actor: Annotated[str | None, _of("who acted")] = None,
    request_id: Annotated[str | None, _of("the request that it all began with")] = None,
    trace_id: Annotated[str | None, _of("of the W3C trace")] = None,
    entity: Annotated[str | None, _of("of the record: its entity")] = None,
    id: RecordId = None,  # noqa: A002
    client: Annotated[str | None, _of("the API consumer that sent the entry")] = None,
    since: Since = None,
    until: Until = None,
    text: Text = None,
) -> LogFilter:
    """What a caller asks for; raises InvalidInputError with every fault that only shows in the whole of it."""
    faults = list[Fault]()
    wanted = LogFilter(
        level_min=level,
        component=component,
        event=event,
        actor=actor,
        request_id=request_id,
        trace_id=trace_id,
        entity=entity,
        key=id,
        client=client,
        since=_read_moment("since", since, asked_at, faults),
        until=_read_moment("until", until, asked_at, faults),
        text=tuple(text or ()),
    )
    if id is not None and entity is None:
        faults.append(Fault("id", "needs `entity` beside it"))
    if wanted.since and wanted.until and wanted.until < wanted.since:
        faults.append(Fault("until", "lies before `since`"))
    if faults:
        raise InvalidInputError("the request breaks a rule", faults)
    return wanted


Wanted = NamedDependency[SkipValidation[LogFilter]]


def _read_moment(name: str, text: str | None, at: datetime, faults: list[Fault]) -> datetime | None:
    if text is None:
        return None
    try:
        return moment(text, at)
    except ValueError:
        faults.append(Fault(name, SAID))
        return None

"""Log entries as a file: NDJSON or CSV (RFC 4180), gzipped or not, in constant memory."""

import csv
import io
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from typing import Any, Literal

import msgspec
from litestar.response import Stream
from loguru import logger

from app.errors import ForbiddenError, StoreUnavailableError
from app.logs.queries import Missed, StoredEntry
from app.logs.views import LogLine, line_of

Format = Literal["ndjson", "csv"]
Batch = list[StoredEntry] | Missed
Batches = AsyncIterator[Batch]
Allowed = Callable[[AsyncGenerator[Batch]], AsyncGenerator[Batch]]

NOT_WHOLE = "this export is not whole:"
BROKEN = f"{NOT_WHOLE} the log store does not answer any more"
CUT_OFF = f"{NOT_WHOLE} whoever asked for it has no right to the rest"
MEDIA_TYPES: dict[Format, str] = {"ndjson": "application/x-ndjson", "csv": "text/csv"}
COLUMNS = (
    *("number", "time", "level", "event", "component", "process", "sequence", "client", "actor", "outcome"),
    *("duration_ms", "entity", "key", "request_id", "message_id", "trace_id", "span_id", "fields"),
    *("exception_type", "exception_message", "exception_stack"),
)

_GZIP = 16 + zlib.MAX_WBITS
# A spreadsheet takes a cell that begins so for a formula; an apostrophe makes it text, and quotes around every cell keep
# it in its place (https://owasp.org/www-community/attacks/CSV_Injection).
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


@dataclass
class _Gaps:
    """How many entries an export lacks, and why."""

    trimmed: int = 0
    unreadable: int = 0

    def add(self, missed: Missed) -> None:
        if missed.reason == "unreadable":
            self.unreadable += missed.count
        else:
            self.trimmed += missed.count

    def told(self, format: Format) -> bytes:  # noqa: A002
        """The last line of the export; nothing where it is whole."""
        if not self.trimmed and not self.unreadable:
            return b""
        said = (
            f"{NOT_WHOLE} {self.trimmed:,} entries of every kind were trimmed before they were read, "
            f"{self.unreadable:,} cannot be read"
        )
        if format == "csv":
            return csv_text([[said]])
        return msgspec.json.encode({"incomplete": said, **asdict(self)}) + b"\n"


async def export(
    batches: Batches,
    *,
    format: Format,  # noqa: A002
    accepted: str,
    allowed: Allowed = lambda batches: batches,
) -> Stream:
    """The answer that streams the batches, until `allowed` breaks it off by a ForbiddenError.

    Raises StoreUnavailableError while nothing has been sent yet.
    """
    first: Batch = await anext(batches, [])
    text = _lines(allowed(_chained(first, batches)), format)
    headers = {
        "Content-Disposition": f'attachment; filename="logs.{format}"',
        "Vary": "Accept-Encoding",
    }
    if accepts_gzip(accepted):
        headers["Content-Encoding"] = "gzip"
        text = _gzipped(text)
    return Stream(text, media_type=MEDIA_TYPES[format], headers=headers)


def accepts_gzip(accepted: str) -> bool:
    """Whether a value of Accept-Encoding (RFC 9110, section 12.5.3) allows gzip."""
    for each in accepted.lower().split(","):
        coding, _, weight = each.replace(" ", "").partition(";q=")
        if coding in {"gzip", "*"}:
            return not weight or weight.strip("0.") != ""
    return False


async def _lines(batches: AsyncGenerator[Batch], format: Format) -> AsyncIterator[bytes]:  # noqa: A002
    write: Callable[[list[StoredEntry]], bytes] = ndjson if format == "ndjson" else rows
    gaps = _Gaps()
    if format == "csv":
        yield csv_text([COLUMNS])
    try:
        async with aclosing(batches):
            async for batch in batches:
                if isinstance(batch, Missed):
                    gaps.add(batch)
                else:
                    yield write(batch)
        yield gaps.told(format)
    except StoreUnavailableError as error:
        logger.bind(error=str(error)).warning("store.failed")
        yield _last(BROKEN, format)
        raise
    except ForbiddenError:
        yield _last(CUT_OFF, format)
        raise


def _last(said: str, format: Format) -> bytes:  # noqa: A002
    """The last line of an export that breaks off."""
    return msgspec.json.encode({"error": said}) + b"\n" if format == "ndjson" else csv_text([[said]])


async def _chained(first: Batch, batches: Batches) -> AsyncGenerator[Batch]:
    yield first
    async for batch in batches:
        yield batch


async def _gzipped(plain: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    packer = zlib.compressobj(wbits=_GZIP)
    try:
        async for chunk in plain:
            yield packer.compress(chunk)
    except (StoreUnavailableError, ForbiddenError):
        yield packer.flush(zlib.Z_SYNC_FLUSH)  # what was sent can be read, and lacks its end
        raise
    yield packer.flush()


def ndjson(batch: list[StoredEntry]) -> bytes:
    return b"".join(msgspec.json.encode(line_of(each)) + b"\n" for each in batch)


def rows(batch: list[StoredEntry]) -> bytes:
    return csv_text([_row(line_of(each)) for each in batch])


def csv_text(lines: Sequence[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows(lines)
    return text.getvalue().encode()


def _row(line: LogLine) -> list[Any]:
    raised = line.exception
    values = {
        **msgspec.to_builtins(line),
        "fields": msgspec.json.encode(line.fields).decode() if line.fields else None,
        "exception_type": raised and raised.type,
        "exception_message": raised and raised.message,
        "exception_stack": raised and raised.stack,
    }
    return [_harmless(values.get(name)) for name in COLUMNS]


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value

"""What users would write or pick instead: a loop over Beanie and Piccolo, and reladiff over two PostgreSQL tables.

reladiff is no part of this project's environments; ``make .venv-benchmarks/installed`` gives it one of its own. It can
only be measured from the start of its process on, so what it is held beside is measured that way too.
"""

import asyncio
import json
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from uuid import UUID

from beanie import DecimalAnnotation, Document, init_beanie
from piccolo import columns
from piccolo.columns import Integer, Numeric, Text, Timestamptz
from piccolo.engine.postgres import PostgresEngine
from piccolo.table import Table

from app.stores.connections import open_customer_client
from benchmarks.bookings import COLUMNS, DRIFTED, EQUAL, differing
from benchmarks.figure import Figure, say
from benchmarks.processes import Measured, command, in_own_process
from config.settings import Settings

RELADIFF = Path(".venv-benchmarks/bin/reladiff")
_LOOKED_UP_AT_ONCE = 1_000
_ROUNDS = 3
# What takes longer is measured once.
_AFFORDABLE_SECONDS = 15.0


class BookingDocument(Document):
    id: UUID  # type: ignore[assignment]  # Beanie types every id as an ObjectId
    customer_id: UUID
    launch_id: UUID
    number_of_seats: int
    total_price: DecimalAnnotation
    status: str
    booking_date: datetime
    cancellation_date: datetime | None = None
    created_at: datetime
    updated_at: datetime

    class Settings:
        name = EQUAL.collection


class BookingRow(Table, tablename=DRIFTED.table):
    id = columns.UUID(primary_key=True)
    customer_id = columns.UUID()
    launch_id = columns.UUID()
    number_of_seats = Integer()
    total_price = Numeric(digits=(12, 2))
    status = Text()
    booking_date = Timestamptz()
    cancellation_date = Timestamptz(null=True)
    created_at = Timestamptz()
    updated_at = Timestamptz()


def figures(settings: Settings, number: int) -> Iterator[Figure]:
    """Records/s and peak memory of each on the drifted sides; what each finds must be what a run finds."""
    ways: dict[str, Callable[[], Measured]] = {
        "a loop with Beanie and Piccolo": partial(in_own_process, _loop, settings)
    }
    if RELADIFF.exists():
        for threads in (1, 4):
            ways[f"reladiff on PostgreSQL twins, -j {threads}"] = partial(_by_reladiff, settings, threads)
    else:
        say(f"reladiff is left out: `make {RELADIFF.parts[0]}/installed` installs it")
    measured: dict[str, list[Measured]] = {name: [] for name in ways}
    for turn in range(_ROUNDS):
        for name, way in ways.items():
            if turn and measured[name][0].whole_seconds > _AFFORDABLE_SECONDS:
                continue
            say(name)
            measured[name].append(way())
            found = measured[name][-1].value
            assert found == differing(number), found
    for name, every in measured.items():
        yield whole_figure(f"reconcile: {name}", number, every)
        peak = max(each.peak_megabytes for each in every)
        yield Figure(f"reconcile: {name}, peak memory", peak, "MB")


def whole_figure(name: str, number: int, measured: Sequence[Measured]) -> Figure:
    """Records/s from the start of the process on."""
    pace = number / statistics.median(each.whole_seconds for each in measured)
    often = "once" if len(measured) == 1 else f"{len(measured)} times"
    return Figure(f"{name}, whole process, {often}", pace, "records/s")


def _by_reladiff(settings: Settings, threads: int) -> Measured:
    measured = command(_reladiff(settings, threads))
    return replace(measured, value=_keys(measured.value))


def _loop(settings: Settings) -> int:
    return asyncio.run(_differing_by_loop(settings))


async def _differing_by_loop(settings: Settings) -> int:
    engine = PostgresEngine(config={"dsn": settings.url("admin_database_url")}, extensions=())
    BookingRow._meta.db = engine  # noqa: SLF001  (Piccolo's own way to bind a table)
    await engine.start_connection_pool()
    client, database = open_customer_client(settings.model_copy(update={"store_timeout_seconds": 300}))
    await init_beanie(database=database, document_models=[BookingDocument])
    found, seen = 0, set()
    waiting: list[BookingDocument] = []
    async for document in BookingDocument.find():
        waiting.append(document)
        seen.add(document.id)
        if len(waiting) == _LOOKED_UP_AT_ONCE:
            found += await _differing_of(waiting)
            waiting = []
    found += await _differing_of(waiting)
    rows = await BookingRow.select(BookingRow.id)
    found += sum(row["id"] not in seen for row in rows)
    await engine.close_connection_pool()
    await client.close()
    return found


async def _differing_of(documents: list[BookingDocument]) -> int:
    if not documents:
        return 0
    rows = await BookingRow.select().where(BookingRow.id.is_in([each.id for each in documents]))
    by_id = {row["id"]: row for row in rows}
    return sum(_differs(each, by_id.get(each.id)) for each in documents)


def _differs(document: BookingDocument, row: dict[str, object] | None) -> bool:
    return row is None or any(_plain(getattr(document, name)) != _plain(row[name]) for name in COLUMNS)


def _plain(value: object) -> object:
    return value.astimezone(UTC) if isinstance(value, datetime) else value


def _reladiff(settings: Settings, threads: int) -> list[str]:
    """Its documented way to find every change: all columns, by the settings that its authors measure with."""
    url = settings.url("admin_database_url")
    columns = [word for name in COLUMNS for word in ("-c", name)]
    argv = [str(RELADIFF), url, EQUAL.table, url, DRIFTED.table, "-k", "id", *columns]
    argv += ["--algorithm", "hashdiff", "--bisection-factor", "64", "--bisection-threshold", "65536"]
    return [*argv, "-j", str(threads), "--json"]


def _keys(printed: str) -> int:
    """How many keys it found to differ: a changed record stands there twice, once with each sign."""
    # It breaks long lines wherever there is a blank.
    decoder, at, keys = json.JSONDecoder(strict=False), 0, set()
    text = printed.strip()
    while at < len(text):
        (_sign, row), at = decoder.raw_decode(text, at)
        keys.add(row[0])
        while at < len(text) and text[at].isspace():
            at += 1
    return len(keys)

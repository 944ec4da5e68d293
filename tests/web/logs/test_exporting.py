"""The logs as a file."""

import csv
import gzip
import io
import json
import zlib
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any

import httpx
import msgspec
import pytest

from app.errors import StoreUnavailableError
from app.logs.layout import TRIM, prefix_of
from app.logs.queries import LogFilter
from app.logs.store import LogStore
from config.log_entries import LogEntry, LoggedException
from tests.web.logs.conftest import LOGS, away, entry
from web.logs import exporting
from web.logs.exporting import BROKEN, CUT_OFF, NOT_WHOLE, accepts_gzip, export
from web.standing import CutOffError

ODD: list[LogEntry] = [
    entry(1, fields={"a": [1, {"b": "ü"}]}, duration_ms=2.5),
    entry(2, actor="=cmd|' /C calc'!A0", outcome="+1", entity="-1", key="@x", request_id="\tx"),
    entry(3, exception=LoggedException("ValueError", '"quoted", yes', "line 1\nline 2"), level="ERROR"),
]


@pytest.fixture
async def odd(store: LogStore) -> None:
    await store.append(ODD)


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_an_export_holds_every_entry_from_the_oldest_on(
    reader: httpx.AsyncClient, odd: None, monkeypatch: pytest.MonkeyPatch, encoding: str
):
    monkeypatch.setattr("app.logs.store._AT_ONCE", 2)

    answer = await reader.get(f"{LOGS}/export", headers={"Accept-Encoding": encoding})

    assert answer.headers["content-type"].startswith("application/x-ndjson")
    assert answer.headers.get("content-encoding", "identity") == encoding
    listed = (await reader.get(f"{LOGS}?order=oldest")).json()["items"]
    assert [json.loads(line) for line in answer.text.splitlines()] == listed
    assert len(listed) == 3


async def test_an_export_holds_what_fits_its_filters(reader: httpx.AsyncClient, odd: None):
    found = (await reader.get(f"{LOGS}/export?level=ERROR")).text
    nothing = await reader.get(f"{LOGS}/export?event=no.event")

    assert [json.loads(line)["number"] for line in found.splitlines()] == [3]
    assert (nothing.status_code, nothing.text) == (200, "")


async def test_a_table_has_a_row_for_each_entry_and_no_cell_is_a_formula(
    reader: httpx.AsyncClient, odd: None
):
    answer = await reader.get(f"{LOGS}/export?format=csv")

    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.headers["content-disposition"] == 'attachment; filename="logs.csv"'
    first, second, third = csv.DictReader(io.StringIO(answer.text, newline=""))
    assert first["number"] == "1"
    assert first["time"].startswith("2026-01-01T12:01:00")
    assert (json.loads(first["fields"]), first["duration_ms"]) == ({"a": [1, {"b": "ü"}]}, "2.5")
    assert second["actor"] == "'=cmd|' /C calc'!A0"
    assert [second[name] for name in ("outcome", "entity", "key", "request_id")] == [
        "'+1",
        "'-1",
        "'@x",
        "'\tx",
    ]
    assert (third["exception_type"], third["exception_message"]) == ("ValueError", '"quoted", yes')
    assert third["exception_stack"] == "line 1\nline 2"


def test_a_table_has_a_column_for_everything_that_an_entry_holds():
    assert {
        column.partition("_")[0] if column.startswith("exception") else column for column in exporting.COLUMNS
    } == {
        "number",
        *LogEntry.__struct_fields__,
    }


@pytest.mark.parametrize("kind", ["ndjson", "csv"])
async def test_an_export_that_lacks_something_says_so_in_its_last_line_and_ends_well(
    store: LogStore, logs: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, kind: Any
):
    monkeypatch.setattr("app.logs.store._AT_ONCE", 2)
    await store.append([entry(number) for number in range(1, 11)])
    prefix = prefix_of(logs.settings.namespace)
    await logs.logs.xdel(f"{prefix}:entries", "10-0")
    await logs.logs.xadd(f"{prefix}:entries", {"entry": "no json"}, id="11-0")
    await logs.logs.set(f"{prefix}:number", 11)
    stream = (await export(store.export(LogFilter()), format=kind, accepted="")).iterator
    sent = await anext(stream)
    await logs.logs.eval(TRIM, 1, prefix, 6)

    sent += b"".join([chunk async for chunk in stream])

    *entries, last = sent.decode().splitlines()
    assert len(entries) == (5 if kind == "ndjson" else 6)
    said = f"{NOT_WHOLE} 4 entries of every kind were trimmed before they were read, 1 cannot be read"
    assert last == (
        f'"{said}"'
        if kind == "csv"
        else msgspec.json.encode({"incomplete": said, "trimmed": 4, "unreadable": 1}).decode()
    )


async def test_in_a_table_every_cell_is_quoted_and_no_kind_of_sign_begins_a_formula(
    reader: httpx.AsyncClient, store: LogStore
):
    signs = [
        "=1",
        "+1",
        "-1",
        "@a",
        "\t=1",
        "\r=1",
        "\n=1",
        "\uff1d1",
        "\uff0b1",
        "\uff0d1",
        "\uff201",
        '="a","b"',
    ]
    await store.append([entry(at, key=sign) for at, sign in enumerate(signs, 1)])

    table = (await reader.get(f"{LOGS}/export?format=csv")).text
    exact = (await reader.get(f"{LOGS}/export")).text

    assert [row["key"] for row in csv.DictReader(io.StringIO(table, newline=""))] == [
        f"'{sign}" for sign in signs
    ]
    assert [json.loads(line)["key"] for line in exact.splitlines()] == signs
    assert table.startswith('"number","time",')
    assert '"1","2026-' in table


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", ["ndjson", "csv"])
@pytest.mark.usefixtures("odd")
async def test_an_export_that_breaks_off_says_so_and_does_not_end_well(
    store: LogStore, logs: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, kind: Any, packed: bool
):
    monkeypatch.setattr("app.logs.store._AT_ONCE", 1)
    batches = store.export(LogFilter())
    stream = (await export(batches, format=kind, accepted="gzip" if packed else "")).iterator
    sent = await anext(stream)
    async with away(logs):
        with pytest.raises(StoreUnavailableError):  # noqa: PT012  (each chunk counts until it is raised)
            async for chunk in stream:
                sent += chunk

    if packed:
        with pytest.raises(EOFError):
            gzip.decompress(sent)
        sent = zlib.decompressobj(31).decompress(sent)
    lines = sent.decode().splitlines()
    assert BROKEN in lines[-1]
    assert len(lines) == (2 if kind == "ndjson" else 3)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", ["ndjson", "csv"])
@pytest.mark.usefixtures("odd")
async def test_an_export_whose_reader_may_not_have_the_rest_says_so_and_does_not_end_well(
    store: LogStore, kind: Any, packed: bool
):
    async def cut_off(batches: AsyncGenerator[Any]) -> AsyncGenerator[Any]:
        yield await anext(batches)
        raise CutOffError

    accepted = "gzip" if packed else ""
    answer = await export(store.export(LogFilter()), format=kind, accepted=accepted, allowed=cut_off)
    sent = b""
    with pytest.raises(CutOffError):  # noqa: PT012  (each chunk counts until it is raised)
        async for chunk in answer.iterator:
            sent += chunk

    if packed:
        with pytest.raises(EOFError):
            gzip.decompress(sent)
        sent = zlib.decompressobj(31).decompress(sent)
    assert CUT_OFF in sent.decode().splitlines()[-1]


@pytest.mark.parametrize(
    ("accepted", "packed"),
    [
        ("", False),
        ("gzip", True),
        ("deflate, GZIP ; q=0.5", True),
        ("gzip;q=0", False),
        ("gzip;q=0.000, br", False),
        ("*", True),
        ("x-gzipped, br", False),
    ],
)
def test_an_export_is_packed_for_those_who_can_unpack_it(accepted: str, packed: bool):
    assert accepts_gzip(accepted) is packed

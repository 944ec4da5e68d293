"""The logs as a file."""

import csv
import gzip
import io
import json
import zlib
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from app.errors import StoreUnavailableError
from app.logs.queries import LogFilter
from app.logs.store import LogStore
from config.log_entries import LogEntry, LoggedException
from tests.web.logs.conftest import LOGS, away, entry
from web.logs import exporting
from web.logs.exporting import BROKEN, accepts_gzip, export

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

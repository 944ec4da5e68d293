"""Whether an entry is part of an answer, and cursors."""

from datetime import timedelta
from typing import Any

import pytest

from app.errors import InvalidInputError
from app.logs.queries import LogFilter, Position, fits, read_cursor, read_position
from app.pages import encode_cursor
from config.log_entries import LoggedException
from tests.app.logs.entries import NOON, entry

FAILED = entry(
    5,
    level="ERROR",
    event="request.failed",
    actor="operator",
    duration_ms=12.5,
    entity="customers",
    key="42",
    fields={"status": 500, "retried": False, "where": {"path": "/v1/Launches", "tags": ["Überfällig"]}},
    exception=LoggedException("ValueError", "no such seat", "Traceback …\nValueError: no such seat"),
)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, True),
        ({"level_min": "WARNING"}, True),
        ({"level_min": "CRITICAL"}, False),
        ({"component": "web", "event": "request.failed", "actor": "operator"}, True),
        ({"component": "worker", "event": "request.failed"}, False),
        ({"entity": "customers", "key": "42"}, True),
        ({"entity": "customers", "key": "4"}, False),
        ({"trace_id": "0" * 32}, False),
        ({"client": "shop"}, False),
        ({"since": FAILED.time, "until": FAILED.time}, True),
        ({"since": FAILED.time + timedelta(milliseconds=1)}, False),
        ({"until": FAILED.time - timedelta(milliseconds=1)}, False),
        ({"text": ("launches",)}, True),
        ({"text": ("ÜBERFÄLLIG", "no such")}, True),
        ({"text": ("launches", "rocket")}, False),
        ({"text": ("status:500",)}, True),
        ({"text": ("status:50",)}, False),
        ({"text": ("retried:false",)}, True),
        ({"text": ("duration_ms:12.5",)}, True),
        ({"text": ("where.path:/v1/Launches",)}, True),
        ({"text": ("where.path.more:x",)}, False),
        ({"text": ("exception.type:ValueError",)}, True),
        ({"text": ("ValueError: no",)}, True),
        ({"text": ("sequence:5",)}, True),
    ],
)
def test_an_entry_fits_where_it_meets_all_that_is_wanted(wanted: dict[str, Any], found: bool) -> None:
    assert fits(FAILED, LogFilter(**wanted)) is found


def test_a_text_is_not_looked_for_in_names_or_in_what_every_entry_has() -> None:
    for term in ("status", "retried:", "2026", "component"):
        assert not fits(FAILED, LogFilter(text=(term,))), term


def test_a_field_that_is_absent_is_not_found_by_its_lack_of_a_value() -> None:
    assert not fits(entry(), LogFilter(text=("actor:None",)))
    assert not fits(entry(), LogFilter(text=("exception.type:",)))


def test_a_cursor_leads_back_to_its_place_and_only_in_its_own_order() -> None:
    asked_at = NOON + timedelta(milliseconds=7)
    cursor = Position(17, newest_first=True, asked_at=asked_at).cursor()
    assert read_cursor(cursor, newest_first=True) == 17
    assert read_position(cursor) == Position(17, newest_first=True, asked_at=asked_at)
    with pytest.raises(InvalidInputError):
        read_cursor(cursor, newest_first=False)
    for broken in (
        "",
        "n",
        "bjE3eA",
        "!",
        "o17",
        encode_cursor("n17"),
        encode_cursor("n17@x"),
        encode_cursor("x1@1"),
    ):
        with pytest.raises(InvalidInputError):
            read_cursor(broken, newest_first=True)

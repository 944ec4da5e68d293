from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.reconciliation.ledger.progress import Pace, pace_of

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER = START + timedelta(seconds=30)


def run(**changes: Any) -> dict[str, Any]:
    return {
        "status": "comparing",
        "started_at": START,
        "compared_at": None,
        "compare_seconds": None,
        "paused_at": None,
        "paused_seconds": 10.0,
        "document_records": 500,
        "relational_records": 1000,
        "expected_records": 4000,
        "partitions": 4,
        "partitions_done": 2,
        "nominated": 0,
        "pending": 0,
    } | changes


REPAIRING = {
    "status": "repairing", "compared_at": START + timedelta(seconds=20), "compare_seconds": 15.0,
    "nominated": 40, "pending": 30,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "pace"),
    [
        ({}, Pace(50, 60)),
        ({"expected_records": 0}, Pace(50, 20)),
        ({"expected_records": 900}, Pace(50, 20)),
        ({"expected_records": 0, "partitions_done": 0}, Pace(50, None)),
        ({"document_records": 0, "relational_records": 0}, Pace()),
        ({"paused_at": LATER}, Pace()),
        ({"status": "queued", "started_at": None}, Pace()),
        ({"status": "held"}, Pace()),
        ({"compared_at": LATER}, Pace()),
        ({"status": "done"}, Pace()),
        (REPAIRING, Pace(2, 15)),
        (REPAIRING | {"pending": 40}, Pace()),
        (REPAIRING | {"pending": 50}, Pace()),
        (REPAIRING | {"pending": 0}, Pace(8, 0)),
        (REPAIRING | {"compare_seconds": None}, Pace(0.5, 60)),
        (REPAIRING | {"nominated": 0, "pending": 0}, Pace()),
    ],
    ids=str,
)
def test_the_pace_is_that_of_the_present_step_without_the_time_it_rested(
    changes: dict[str, Any], pace: Pace
) -> None:
    assert pace_of(run(**changes), LATER) == pace

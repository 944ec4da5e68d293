"""Moments as people give them."""

from datetime import UTC, datetime

import pytest

from app.moments import moment

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("7s", datetime(2026, 3, 4, 5, 6, tzinfo=UTC)),
        ("6m", datetime(2026, 3, 4, 5, 0, 7, tzinfo=UTC)),
        ("5h", datetime(2026, 3, 4, 0, 6, 7, tzinfo=UTC)),
        ("3d", datetime(2026, 3, 1, 5, 6, 7, tzinfo=UTC)),
        ("0m", NOW),
        ("2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T12:00:00.5+02:00", datetime(2026, 1, 31, 10, 0, 0, 500_000, tzinfo=UTC)),
    ],
)
def test_a_moment_is_an_instant_or_how_long_ago(text: str, meant: datetime) -> None:
    assert moment(text, NOW) == meant
    assert moment(text, NOW).tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    ["", "15", "m", "15 m", "-5m", "1.5h", "999999d", "2026-01-31", "2026-01-31T12:00:00", "yesterday"],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="how long ago"):
        moment(text, NOW)

"""Log entries for tests."""

from datetime import UTC, datetime, timedelta
from typing import Any

from config.log_entries import LogEntry

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def entry(sequence: int = 1, **changes: Any) -> LogEntry:
    """An entry, by default of one process, at noon and as many seconds as its sequence says."""
    given: dict[str, Any] = {
        "process": "here:1:00000000",
        "sequence": sequence,
        "time": NOON + timedelta(seconds=sequence),
        "level": "INFO",
        "event": "thing.happened",
        "component": "web",
    }
    return LogEntry(**given | changes)


def entries(number: int, **changes: Any) -> list[LogEntry]:
    return [entry(sequence, **changes) for sequence in range(1, number + 1)]

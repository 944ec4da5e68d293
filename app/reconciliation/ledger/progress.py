"""How fast a run goes and how long it will still take; the time that it was paused counts for neither."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Pace:
    """`rate` is records compared, or suspects settled, a second; None for what nobody can tell."""

    rate: float | None = None
    eta_seconds: float | None = None


def pace_of(run: Mapping[str, Any], now: datetime) -> Pace:
    """The pace of a run's present step, from its row and its counts: unknown while it rests, waits or has ended."""
    if run["paused_at"] is not None or run["started_at"] is None:
        return Pace()
    worked = (now - run["started_at"]).total_seconds() - run["paused_seconds"]
    if run["status"] == "comparing" and run["compared_at"] is None:
        return _pace(max(run["document_records"], run["relational_records"]), _share_compared(run), worked)
    if run["status"] == "repairing":
        settled, all_of_them = max(run["nominated"] - run["pending"], 0), run["nominated"]
        share = settled / all_of_them if all_of_them else 0.0
        return _pace(settled, share, worked - (run["compare_seconds"] or 0.0))
    return Pace()


def _share_compared(run: Mapping[str, Any]) -> float:
    """How much of the comparing is done, from 0 to 1; 0 where there is nothing to judge it by."""
    records = max(run["document_records"], run["relational_records"])
    if records < run["expected_records"]:
        return float(records / run["expected_records"])
    return run["partitions_done"] / run["partitions"] if run["partitions"] else 0.0


def _pace(done: int, share: float, seconds: float) -> Pace:
    if not done or seconds <= 0:
        return Pace()
    return Pace(done / seconds, seconds * (1 - share) / share if share else None)

"""What tests of runs do: stage the scan, take a run through its comparison, and see what came of it."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import msgspec
import pytest

from app.reconciliation.ledger import runs
from app.reconciliation.ledger.views import RunView
from app.reconciliation.running import execution, partitions
from app.reconciliation.scanning.scan import Finding, KeyRange, ScanResult, ScanStoppedError
from app.stores.connections import Stores
from config.settings import Settings

WHY = {"by": "test", "reason": "test"}


@dataclass
class Stage:
    """Stands in for the scan: partitions whose first key is in `endless` are read until they are stopped."""

    endless: set[str] = field(default_factory=set)
    seconds: float = 0.0
    found: dict[str, list[Finding]] = field(default_factory=dict)
    read: list[str] = field(default_factory=list)
    paces: list[float | None] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0

    def scan(self, _settings: Settings, _mapping: Any, key_range: KeyRange, **told: Any) -> ScanResult:
        low = key_range.low or ""
        self.read.append(low)
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            return self._scan(low, **told)
        finally:
            self.at_once -= 1

    def _scan(
        self,
        low: str,
        *,
        stopped: Callable[[], bool],
        pace: Callable[[], float | None],
        on_progress: Callable[[int, int], None],
        on_findings: Callable[[list[Finding]], None],
    ) -> ScanResult:
        on_progress(40, 30)
        on_findings(self.found.get(low, []))
        until = time.monotonic() + self.seconds
        while low in self.endless or time.monotonic() < until:
            if not self.paces or self.paces[-1] != pace():
                self.paces.append(pace())
            if stopped():
                raise ScanStoppedError
            time.sleep(0.01)
        return ScanResult(100, 90)


async def start(stores: Stores, **order: Any) -> UUID:
    """A run of customers that has been planned."""
    run = await runs.start_run(stores, "customers", by="test", **order)
    await execution.begin(stores, run.id)
    return run.id


async def compare_all(stores: Stores, run_id: UUID) -> None:
    """Take a run up and compare its partitions, as workers do."""
    for call in await execution.begin(stores, run_id):
        await execution.compare(stores, call.run_id, call.number)


async def compared(stores: Stores, entity: str, **order: Any) -> RunView:
    """A new run after all of its partitions are compared; nothing is repaired yet."""
    run = await runs.start_run(stores, entity, by="test", **order)
    await compare_all(stores, run.id)
    return await runs.get_run(stores, run.id)


async def until(look: Callable[[], Any]) -> None:
    for _ in range(2000):
        if look():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it never came to that")


async def states(stores: Stores, run_id: UUID) -> list[tuple[str, int]]:
    page = await partitions.list_partitions(stores, run_id)
    return [(each.status, each.attempts) for each in page.items]


async def facts(stores: Stores, run_id: UUID) -> list[Any]:
    rows = await stores.core.fetch("SELECT entry FROM audit_outbox ORDER BY position")
    entries = [msgspec.json.decode(row["entry"]) for row in rows]
    return [each for each in entries if each["target"] == str(run_id)]

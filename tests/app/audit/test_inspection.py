"""Verification by the clock: what it finds is kept where operators hear of it, and becomes a fact."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from app.audit import inspection, verdicts
from app.audit.inspection import take_turn
from app.audit.outbox import relay
from app.audit.store import AuditStore
from app.errors import StoreUnavailableError
from config.settings import Settings
from tests.app.audit.archived import open_archived
from tests.app.audit.sealed import SealedStore, open_sealed, told


@pytest.fixture
async def sealed(settings_of_test: Settings) -> AsyncIterator[SealedStore]:
    async with open_sealed(settings_of_test) as opened:
        await opened.seal(5)
        yield opened


@pytest.fixture
def logged() -> Any:
    """What is logged from here on, but that facts were recorded."""
    seen: list[tuple[str, str, Any]] = []

    def keep(line: Any) -> None:
        record = line.record
        seen.append((record["level"].name, record["message"], record["extra"].get("place")))

    sink = logger.add(keep, filter=lambda record: record["message"] != "fact.recorded")
    yield seen
    logger.remove(sink)


async def facts(store: SealedStore) -> list[tuple[str, str, str, dict[str, int]]]:
    rows = await store.stores.core.fetch("SELECT entry FROM audit_outbox ORDER BY position")
    found = [json.loads(row["entry"]) for row in rows]
    return [(each["name"], each["actor"], each["target"], each["detail"]) for each in found]


async def test_a_sound_store_is_said_to_be_sound(sealed: SealedStore, logged) -> None:
    await sealed.append(2)
    report = await take_turn(sealed.settings)
    assert report
    assert report.ok
    verdict = (await verdicts.read_verdicts(sealed.stores.core))["verifier"]
    assert (verdict.place, verdict.reason) == (None, None)
    counts = {"entries": 7, "seals": 1, "archives": 0, "faults": 0}
    assert await facts(sealed) == [("audit:verification:pass", "verifier", "seal 1", counts)]
    assert logged == [("INFO", "audit.verified", None)]


async def test_a_fault_is_kept_with_its_place_until_it_is_mended(sealed: SealedStore, logged) -> None:
    entries = await sealed.entries()
    await sealed.change(lambda found: found[3][1].update(told("edited")))
    await take_turn(sealed.settings)
    first = (await verdicts.read_verdicts(sealed.stores.core))["verifier"]
    assert first.place == "entry 4"
    assert "not what was sealed" in (first.reason or "")
    await take_turn(sealed.settings)
    again = (await verdicts.read_verdicts(sealed.stores.core))["verifier"]
    assert (again.since, again.said_at > first.said_at) == (first.since, True)
    assert [each[:3] for each in await facts(sealed)] == [
        ("audit:verification:fail", "verifier", "entry 4")
    ] * 2
    assert logged == [("ERROR", "verification.failed", "entry 4")] * 2
    await sealed.put(entries)
    await take_turn(sealed.settings)
    mended = (await verdicts.read_verdicts(sealed.stores.core))["verifier"]
    assert mended.place is None
    assert mended.since > first.since


async def test_the_facts_of_it_are_sealed_with_the_rest(sealed: SealedStore) -> None:
    await take_turn(sealed.settings)
    assert await relay(sealed.stores.core, AuditStore.of(sealed.stores)) == 1
    await sealed.seal()
    report = await take_turn(sealed.settings)
    assert report
    assert (report.ok, report.sealed) == (True, 6)


async def test_archives_are_looked_at_where_the_settings_say(
    settings_of_test: Settings, tmp_path: Path
) -> None:
    async with open_archived(settings_of_test, tmp_path) as store:
        for _ in range(2):
            await store.seal(3)
        await store.archive()
        store.files[0].unlink()
        await take_turn(store.settings)
        assert (await verdicts.read_verdicts(store.stores.core))["verifier"].place == "seal 1"


async def test_one_at_a_time_verifies(sealed: SealedStore) -> None:
    async with sealed.stores.core.acquire() as other:
        await other.execute("SELECT pg_advisory_lock($1)", inspection._LOCK)
        assert await take_turn(sealed.settings) is None
        await other.execute("SELECT pg_advisory_unlock($1)", inspection._LOCK)
    assert await take_turn(sealed.settings)


async def test_without_a_key_nothing_is_verified_and_that_is_said(sealed: SealedStore, logged) -> None:
    bare = sealed.settings.model_copy(update={"audit_signing_key": None, "audit_public_keys": ""})
    assert await take_turn(bare) is None
    assert logged == [("WARNING", "verification.skipped", None)]


async def test_a_store_that_cannot_be_read_gives_no_verdict(sealed: SealedStore) -> None:
    away = type(sealed.settings).model_validate(
        sealed.settings.model_dump() | {"audit_url": "redis://127.0.0.1:1/0"}
    )
    with pytest.raises(StoreUnavailableError):
        await take_turn(away)
    assert await verdicts.read_verdicts(sealed.stores.core) == {}
    assert await facts(sealed) == []

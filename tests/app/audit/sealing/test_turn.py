"""A turn of the sealer: by one worker at a time, and a break is not buried."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from loguru import logger

from app.audit import verdicts
from app.audit.sealing import sealer as sealer_module
from app.audit.sealing import turn
from app.audit.sealing.turn import is_due, take_turn
from app.clock import now
from app.scheduling.leases import claim, leader, release
from app.stores.connections import Stores
from tests.app.audit.sealed import SealedStore, told, with_keys


@pytest.fixture
def logged() -> Any:
    """What is logged from here on: level and event."""
    seen: list[tuple[str, str]] = []
    sink = logger.add(lambda line: seen.append((line.record["level"].name, line.record["message"])))
    yield seen
    logger.remove(sink)


async def test_a_turn_seals_what_is_new_with_the_rights_of_the_service(
    stores: Stores, settings_of_test
) -> None:
    # Not `sealed`: here the audit store lets its user do only what the service may.
    store = SealedStore(stores, stores.audit)
    await store.append(3)
    assert await take_turn(stores) == 3
    assert await take_turn(stores) == 0
    assert (await store.verify()).ok
    assert await leader(stores.core, "sealer") is None


async def test_of_many_turns_at_once_each_entry_is_sealed_by_one(sealed: SealedStore) -> None:
    await sealed.append(40)
    assert sum(await asyncio.gather(*(take_turn(sealed.stores) for _ in range(5)))) == 40
    assert (await sealed.verify()).ok


async def test_while_another_worker_seals_a_turn_does_nothing(sealed: SealedStore) -> None:
    await sealed.append(3)
    await claim(sealed.stores.core, "sealer", "another", seconds=30)
    assert await take_turn(sealed.stores) == 0
    assert await sealed.seals() == []


async def test_a_break_is_logged_once_a_minute_and_recorded_once(sealed: SealedStore, logged) -> None:
    await sealed.seal(5)
    await sealed.change(lambda entries: entries[3][1].update(told("edited")))
    for minute in range(3):
        for _ in range(4):
            assert await take_turn(sealed.stores) == 0
        assert logged.count(("ERROR", "sealing.stopped")) == minute + 1
        waiting = await leader(sealed.stores.core, "sealer")
        assert timedelta(seconds=40) < waiting.expires_at - now() < timedelta(seconds=55), (
            "by the next minute"
        )
        await release(sealed.stores.core, "sealer", waiting.holder)
    (recorded,) = [
        fields["entry"] for _, fields in await sealed.entries() if "sealing:stop" in fields["entry"]
    ]
    assert '"target":"entry 4"' in recorded
    assert len(await sealed.seals()) == 1


async def test_a_break_is_a_verdict_until_it_is_mended_even_where_the_audit_store_takes_nothing(
    sealed: SealedStore,
) -> None:
    await sealed.seal(5)
    await sealed.redis.xadd(sealed.key("entries"), told("new"))
    await take_turn(sealed.stores)
    verdict = (await verdicts.read_verdicts(sealed.stores.core))["sealer"]
    assert verdict.place == "entry 5"
    waiting = await leader(sealed.stores.core, "sealer")
    assert waiting
    await release(sealed.stores.core, "sealer", waiting.holder)
    await sealed.put((await sealed.entries())[:5])
    await take_turn(sealed.stores)
    assert (await verdicts.read_verdicts(sealed.stores.core))["sealer"].place is None


async def test_a_break_that_cannot_be_recorded_is_logged(sealed: SealedStore, logged) -> None:
    await sealed.seal(5)
    await sealed.redis.xadd(
        sealed.key("entries"), told("new")
    )  # with an id behind which no entry of ours fits
    assert await take_turn(sealed.stores) == 0
    assert {("ERROR", "sealing.stopped"), ("ERROR", "sealing.unrecorded")} <= set(logged)


async def test_without_a_key_nothing_is_sealed_and_that_is_said(sealed: SealedStore, logged) -> None:
    await sealed.append(1)
    bare = sealed.settings.model_copy(update={"audit_signing_key": None})
    sealed.stores = type(sealed.stores)(**{**vars(sealed.stores), "settings": bare})
    assert await take_turn(sealed.stores) == 0
    assert logged == [("WARNING", "sealing.skipped")]


async def test_a_turn_is_due_when_a_whole_batch_waits(sealed: SealedStore, monkeypatch) -> None:
    monkeypatch.setattr(sealer_module, "BATCH", 4)
    monkeypatch.setattr(turn, "BATCH", 4)
    assert not await is_due(sealed.stores)
    await sealed.append(4)
    assert await is_due(sealed.stores)
    await sealed.seal(3)
    assert not await is_due(sealed.stores)
    await sealed.append(4)
    assert await is_due(sealed.stores)
    await sealed.redis.xadd(sealed.key("seals"), {"seal": "none"})
    assert not await is_due(sealed.stores), "the next turn tells what is wrong"


def test_a_key_that_is_none_is_refused_by_the_settings() -> None:
    from config.settings import SettingsError, parse_settings

    for name in ("SIGNING_KEY", "PUBLIC_KEYS"):
        with pytest.raises(SettingsError, match="32 bytes in base64"):
            parse_settings({f"ASTROCORE_AUDIT_{name}": "c2hvcnQ="})
    keys = with_keys(parse_settings({}), "A" * 43 + "=", "A" * 43 + "=", "B" * 43 + "=").public_keys
    assert len(keys) == 2

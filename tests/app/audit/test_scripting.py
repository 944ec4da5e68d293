"""What callers are told where the audit store takes nothing."""

import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from app.audit.entries import Entry
from app.audit.store import AuditStore
from app.errors import StoreUnavailableError
from app.stores.connections import open_redis
from tests.app.audit.entries import fact, intent
from tests.app.audit.own_server import NAMESPACE, own_server


async def test_a_full_disk_is_told_of_by_a_server_that_goes_on(tmp_path: Path) -> None:
    async with own_server(tmp_path, fsync="everysec") as server, open_redis(server.url) as redis:
        audit = AuditStore(redis, NAMESPACE)
        await audit.append([fact()])
        server.fill_disk()
        with pytest.raises(StoreUnavailableError, match="cannot write to its disk, which may be full"):
            await _append_for_ever(audit)
        assert await audit.page(None, 1, 9, newest_first=True, limit=5), "what there is can be read"


async def test_a_server_that_ends_for_its_disk_is_full_is_told_of(tmp_path: Path) -> None:
    async with own_server(tmp_path) as server, open_redis(server.url) as redis:
        audit = AuditStore(redis, NAMESPACE)
        await audit.append([fact()])
        server.fill_disk()
        with pytest.raises(StoreUnavailableError, match="does not answer; it ends where its disk is full"):
            await _append_for_ever(audit)


async def test_memory_that_is_used_up_is_told_of(tmp_path: Path) -> None:
    async with own_server(tmp_path) as server, open_redis(server.url) as redis:
        audit = AuditStore(redis, NAMESPACE)
        await redis.config_set("maxmemory", 1)
        with pytest.raises(StoreUnavailableError, match="has no memory left"):
            await audit.append([fact()])


async def test_a_server_that_was_started_again_is_given_the_scripts_again(tmp_path: Path) -> None:
    async with own_server(tmp_path) as server, open_redis(server.url) as redis:
        audit = AuditStore(redis, NAMESPACE)
        await audit.append([fact()])
        await redis.script_flush()
        assert await audit.append([fact()]) == 1


@pytest.mark.parametrize("beside", [[], [fact()]], ids=["alone", "with a fact"])
async def test_an_intent_that_was_given_up_on_does_not_come_to_be_later(
    tmp_path: Path, beside: list[Entry]
) -> None:
    """Its write was never tried. A fact tells of what has happened: it may come late."""
    said = fact()
    async with own_server(tmp_path) as server, open_redis(server.url) as steady:
        hasty = Redis(
            port=server.port, socket_timeout=0.3, decode_responses=True, retry=Retry(NoBackoff(), 0)
        )
        async with hasty:
            audit = AuditStore(hasty, NAMESPACE)
            await audit.append([said])
            # It stops once it has told the time: what is sent next lies there until it goes on.
            hasty.time = _telling(await hasty.time(), lambda: server.process.send_signal(signal.SIGSTOP))
            with pytest.raises(StoreUnavailableError, match="does not answer"):
                await audit.append([intent(), *beside])
            server.process.send_signal(signal.SIGCONT)
        audit = AuditStore(steady, NAMESPACE)
        page, _ = await audit.page(None, 1, 9, newest_first=False, limit=9)
        assert [each.entry for each in page] == [said]
        assert await audit.append([intent()]) == 1


def _telling(told: tuple[int, int], then: Callable[[], None]) -> Callable[[], Awaitable[tuple[int, int]]]:
    async def time() -> tuple[int, int]:
        then()
        return told

    return time


async def _append_for_ever(audit: AuditStore) -> None:
    while True:
        await audit.append([fact()])

"""The service's user appends and reads; nothing that it can do makes an entry disappear unseen."""

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError

from app.audit.rights import FORBIDDEN, NEEDED, RETENTION, SERVICE, acl_file, let_through, rules
from app.audit.store import AuditStore
from app.stores.connections import Stores, open_redis
from tests.app.audit.entries import end, fact, intent

COMPOSE = Path(__file__).parents[3] / "docker-compose.yml"


@pytest.mark.parametrize("call", FORBIDDEN, ids=" ".join)
async def test_the_service_may_not(
    stores: Stores, audit: AuditStore, prefix: str, call: tuple[str, ...]
) -> None:
    await audit.append([fact()])
    with pytest.raises(NoPermissionError):
        await stores.audit.execute_command(*(word.format(key=f"{prefix}entries") for word in call))
    assert (await audit.count()).length == 1


async def test_debug_is_refused_to_everybody(stores: Stores) -> None:
    with pytest.raises(ResponseError, match="DEBUG"):
        await stores.audit.execute_command("DEBUG", "JMAP")


@pytest.mark.parametrize(
    "script",
    [
        "return redis.call('XTRIM', KEYS[1], 'MAXLEN', 0)",
        "return redis.call('XDEL', KEYS[1], '1-0')",
        "return redis.call('DEL', KEYS[1])",
        "return redis.call('FLUSHALL')",
        "return redis.call('SET', KEYS[1], '')",
    ],
)
async def test_a_script_may_no_more_than_its_user(
    stores: Stores, audit: AuditStore, prefix: str, script: str
) -> None:
    await audit.append([fact()])
    with pytest.raises(ResponseError, match="permissions"):
        await stores.audit.register_script(script)(keys=[f"{prefix}entries"])
    assert (await audit.count()).length == 1


@pytest.mark.parametrize(
    "call",
    [
        ("HDEL", "{}ids:0000", "x"),
        ("RPOP", "{}by:kind:fact"),
        ("RPOP", "{}reached"),
        ("INCRBY", "{}open", "1"),
        ("SET", "{}sequence", "0"),
        ("XADD", "elsewhere", "*", "field", "value"),
        ("GET", "elsewhere"),
    ],
    ids=" ".join,
)
async def test_what_the_service_may_do_to_one_key_it_may_not_do_to_others(
    stores: Stores, prefix: str, call: tuple[str, ...]
) -> None:
    with pytest.raises(NoPermissionError):
        await stores.audit.execute_command(*(word.format(prefix) for word in call))


async def test_trimming_by_an_append_cannot_be_forbidden_but_shows_in_the_count(
    stores: Stores, audit: AuditStore, prefix: str
) -> None:
    await audit.append([fact() for _ in range(10)])
    await stores.audit.xadd(f"{prefix}entries", {"entry": "{}"}, id="11-0", maxlen=3, approximate=False)
    assert (await audit.count()).missing


async def test_an_entry_that_was_slipped_in_shows_in_the_count(
    stores: Stores, audit: AuditStore, prefix: str
) -> None:
    await audit.append([fact()])
    await stores.audit.xadd(f"{prefix}entries", {"entry": "{}"}, id="2-0")
    assert (await audit.count()).missing == 1


async def test_retention_may_remove_entries_but_not_the_store(
    stores: Stores, audit: AuditStore, retention: Redis, prefix: str
) -> None:
    tried = intent()
    await audit.append([tried, end(tried), fact()])
    assert await retention.xtrim(f"{prefix}entries", minid="3-0", approximate=False) == 2
    await retention.set(f"{prefix}archived", 2)
    assert (await audit.count()).missing == 0
    refused = set(await let_through(retention, FORBIDDEN, f"{prefix}none"))
    assert not refused & {
        "FLUSHALL",
        "FLUSHDB",
        "SWAPDB",
        "RENAME",
        "RESTORE",
        "EVAL",
        "ACL",
        "REPLICAOF",
        "XSETID",
    }
    with pytest.raises(NoPermissionError):
        await retention.config_set("appendonly", "no")
    with pytest.raises(NoPermissionError):
        await retention.get("elsewhere")


async def test_the_service_may_do_what_it_needs(stores: Stores, prefix: str) -> None:
    assert await let_through(stores.audit, NEEDED, f"{prefix}none") == [call[0] for call in NEEDED]
    assert await stores.audit.exists(f"{prefix}none") == 0


@pytest.fixture
async def nobody(stores: Stores) -> AsyncIterator[Redis]:
    url = urlsplit(stores.settings.url("audit_url"))
    async with open_redis(urlunsplit(url._replace(netloc=f"{url.hostname}:{url.port}"))) as redis:
        yield redis


async def test_nobody_gets_in_without_a_password(nobody: Redis) -> None:
    with pytest.raises(AuthenticationError):
        await nobody.ping()


def test_a_password_does_not_stand_in_the_file() -> None:
    text = acl_file({SERVICE: "secret-of-the-service", RETENTION: "secret-of-retention"}, "x:audit:")
    assert "secret-of" not in text
    assert text.splitlines()[0] == "user default off"


@pytest.mark.parametrize("user", [SERVICE, RETENTION])
def test_the_users_of_docker_compose_have_these_rights(user: str) -> None:
    (line,) = (
        each for each in COMPOSE.read_text().splitlines() if each.strip().startswith(f"user {user} on ")
    )
    assert line.endswith(f" {rules(user, 'astrocore:audit:')}")

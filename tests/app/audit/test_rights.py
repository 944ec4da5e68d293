"""The service's user appends and reads; nothing that it can do makes an entry disappear unseen."""

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import pytest
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError

from app.audit.entries import FactEntry
from app.audit.rights import (
    FORBIDDEN,
    NEEDED,
    RETENTION,
    SERVICE,
    acl_file,
    lacking,
    let_through,
    rules,
)
from app.audit.store import AuditStore
from app.errors import StoreUnavailableError
from app.stores.connections import Stores, open_redis
from tests.app.audit.entries import end, fact, intent, later
from tests.app.audit.own_server import NAMESPACE, OwnServer, own_server

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
        ("XADD", "{}archives", "999999-0", "field", "value"),
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
        "RESTORE",
        "EVAL",
        "ACL",
        "REPLICAOF",
    }
    with pytest.raises(NoPermissionError):
        await retention.config_set("appendonly", "no")
    with pytest.raises(NoPermissionError):
        await retention.get("elsewhere")


async def test_the_service_may_do_what_it_needs(stores: Stores, prefix: str) -> None:
    assert await lacking(stores.audit, NEEDED, prefix) == []
    assert await stores.audit.exists(f"{prefix}entries", f"{prefix}sequence") == 0


async def test_everything_that_appending_and_reading_use_is_named_as_needed(
    stores: Stores, audit: AuditStore, prefix: str
) -> None:
    """An outcome of an intent of another batch, and entries that come late, take every way through the scripts."""
    before = await _calls(stores)
    tried = intent(at=later(5))
    await audit.append([tried])
    await audit.append([end(tried), fact(at=later(-5))])
    await audit.changes(entity="customers", key="a")
    await audit.open_intents()
    await audit.bounds(0, 9)
    await audit.count()
    used = await _calls(stores) - before

    assert {"xadd", "hset", "hdel", "rpop", "incrby"} <= used.keys()
    connecting = {"info", "evalsha", "script|load", "auth", "hello", "ping", "client|setinfo", "select"}
    assert used.keys() <= {call[0].lower() for call in NEEDED} | connecting


async def _calls(stores: Stores) -> Counter[str]:
    """How often each command was called, by scripts too."""
    told = await stores.audit.info("commandstats")
    return Counter({name.removeprefix("cmdstat_"): each["calls"] for name, each in told.items()})


@pytest.mark.parametrize(
    ("right", "named"),
    [
        (" (~{keys}entries +xadd)", "XADD"),
        (" +hset", "HSET"),
        (" +rpush", "RPUSH"),
        (" (~{keys}open +hdel)", "HDEL"),
        (" (~{keys}left +rpop)", "RPOP"),
        (" (~{keys}sequence +incrby)", "INCRBY"),
    ],
)
async def test_a_user_who_lacks_a_right_appends_nothing_rather_than_half(
    own: OwnServer, right: str, named: str
) -> None:
    """Half would be a stream ahead of its counter, which takes no entry any more."""
    tried = intent()
    await own.append(fact(at=later(9)), tried)
    before = await own.dump()
    async with own.as_user(without=right) as redis:
        with pytest.raises(StoreUnavailableError, match="lacks rights"):
            await AuditStore(redis, NAMESPACE).append([fact(), end(tried)])
        assert await lacking(redis, NEEDED, f"{NAMESPACE}:audit:") == [named]
    assert await own.dump() == before
    assert await own.append(fact(), end(tried)) == 2


@pytest.mark.parametrize(
    "key", ["by:kind:outcome", "by:actor:ann", "left", "reached", "ids:0000", "sequence"]
)
async def test_what_somebody_has_put_in_the_place_of_an_index_lets_nothing_be_appended_rather_than_half(
    stores: Stores, audit: AuditStore, retention: Redis, prefix: str, key: str
) -> None:
    said = fact()
    said = FactEntry(**{name: getattr(said, name) for name in said.__struct_fields__} | {"id": UUID(int=0)})
    await retention.xadd(f"{prefix}{key}", {"what": "ever"})
    tried = intent()
    with pytest.raises(StoreUnavailableError, match="refuses"):
        await audit.append([tried, end(tried), said])
    assert await stores.audit.exists(f"{prefix}entries", f"{prefix}open", f"{prefix}by:entity:customers") == 0


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[OwnServer]:
    async with own_server(tmp_path) as started:
        yield started


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

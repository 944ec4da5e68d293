"""What docs/audit.md tells to do where nothing can be appended any more, done as it stands there."""

import re
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from app.audit.store import AuditStore
from app.errors import StoreUnavailableError
from app.stores.connections import Stores
from tests.app.audit.entries import end, fact, intent

DOCS = Path(__file__).parents[3] / "docs" / "audit.md"


@pytest.fixture
def script() -> str:
    (found,) = re.findall(r"```lua\n(.*?)```", DOCS.read_text(), re.DOTALL)
    return found


@pytest.mark.parametrize("count", [0, 3, 2500])
async def test_entries_behind_the_last_one_are_taken_out(
    audit: AuditStore, retention: Redis, prefix: str, script: str, count: int
) -> None:
    tried = intent()
    await audit.append([*(fact() for _ in range(count - 1)), tried] if count else [])
    before = await retention.xrange(f"{prefix}entries")
    for place in (f"{count + 1}-0", f"{count + 9}-7", "*"):
        await retention.xadd(f"{prefix}entries", {"entry": "{}"}, id=place)
    with pytest.raises(StoreUnavailableError):
        await audit.append([fact()])

    sha = await retention.script_load(script)
    keys = (f"{prefix}entries", f"{prefix}mended", f"{prefix}sequence")
    assert int(await retention.evalsha(sha, 3, *keys)) == count

    assert await retention.xrange(f"{prefix}entries") == before
    assert await audit.append([end(tried), fact()]) == (2 if count else 1)
    assert (await audit.count()).missing == 0


async def test_the_service_itself_may_not_do_it(stores: Stores, prefix: str, script: str) -> None:
    await AuditStore.of(stores).append([fact()])
    sha = await stores.audit.script_load(script)
    with pytest.raises(ResponseError, match="permissions"):
        await stores.audit.evalsha(sha, 3, f"{prefix}entries", f"{prefix}mended", f"{prefix}sequence")
    assert (await AuditStore.of(stores).count()).missing == 0


async def test_a_counter_that_runs_ahead_is_set_back(
    stores: Stores, audit: AuditStore, retention: Redis, prefix: str
) -> None:
    await audit.append([fact(), fact()])
    await stores.audit.incrby(f"{prefix}sequence", 5)
    assert (await audit.count()).missing == 5
    await retention.set(f"{prefix}sequence", 2)
    await audit.append([fact()])
    assert (await audit.count()).missing == 0

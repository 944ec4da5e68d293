"""The operator of an embedded system, in a real core DB."""

from base64 import b64encode
from pathlib import Path

import asyncpg
import pytest

from app.accounts.passwords import refusals
from app.embedded.directory import DataDirectory
from app.embedded.operator import EMAIL, FILE, ensure
from app.stores.connections import Stores
from config.settings import Settings
from tests.app.accounts.conftest import facts

KEY = f"first:{b64encode(b'1' * 32).decode()}"


@pytest.fixture
def cheap(settings_of_test: Settings) -> Settings:
    own = {"password_peppers": KEY, "password_memory_kib": 19 * 1024, "password_passes": 2}
    return Settings.model_validate(settings_of_test.model_dump() | own)


async def test_an_operator_is_made_once_and_told_while_the_password_is_theirs(
    cheap: Settings, stores: Stores, tmp_path: Path
) -> None:
    with DataDirectory.open(tmp_path) as directory:
        first = await ensure(cheap, directory)
        assert await ensure(cheap, directory) == first
        assert first.email == EMAIL
        assert refusals(first.password or "", about=[EMAIL]) == []
        assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
        assert await facts(stores) == ["user:create", "password:set"]
        user = await stores.core.fetchrow("SELECT roles, status FROM users")
        assert tuple(user) == (["operator"], "active")

        await stores.core.execute("UPDATE users SET status = 'locked'")
        assert (await ensure(cheap, directory)).password is None
        await stores.core.execute("UPDATE users SET status = 'active', password_hash = 'first:of another'")
        assert (await ensure(cheap, directory)).password is None


async def test_a_core_db_that_fails_half_way_is_left_without_an_operator(
    cheap: Settings, stores: Stores, tmp_path: Path
) -> None:
    await stores.core.execute("ALTER TABLE audit_outbox RENAME TO away")
    with DataDirectory.open(tmp_path) as directory, pytest.raises(asyncpg.UndefinedTableError):
        await ensure(cheap, directory)
    assert await stores.core.fetchval("SELECT count(*) FROM users") == 0
    await stores.core.execute("ALTER TABLE away RENAME TO audit_outbox")

"""What the doctor says about rights on the customer DB and in the audit store."""

from pathlib import Path
from typing import Any

import pytest

from app import doctor
from app.audit import verdicts
from app.audit.rights import FORBIDDEN, let_through
from app.audit.store import AuditStore
from app.reconciliation.entities import BOOKINGS
from app.reconciliation.mapping import load_mappings, mappings
from app.reconciliation.sides.document_rights import rights_missing, rights_needed
from app.stores.connections import open_redis
from config.settings import Settings
from tests.app.audit.archived import open_archived
from tests.app.audit.entries import fact

COLLECTIONS = ("customers", "launches", "bookings")
ACTIONS = ["find", "listIndexes", "insert", "update", "remove"]


def role(*actions: str) -> list[dict[str, Any]]:
    """The role that the README recommends, with these actions on each collection."""
    return [
        {"resource": {"db": "customer", "collection": ""}, "actions": ["listCollections"]},
        *(
            {"resource": {"db": "customer", "collection": name}, "actions": list(actions)}
            for name in COLLECTIONS
        ),
    ]


def test_the_role_of_the_readme_suffices_for_every_entity() -> None:
    load_mappings("")
    needed = {action for each in COLLECTIONS for action in rights_needed(mappings()[each])}
    assert needed == set(ACTIONS)
    for name in COLLECTIONS:
        assert rights_missing(mappings()[name], "customer", role(*ACTIONS)) == {}


@pytest.mark.parametrize(
    "resource", [{"anyResource": True}, {"db": "", "collection": ""}, {"db": "customer", "collection": ""}]
)
def test_a_right_on_everything_is_one_on_each_collection(resource: dict[str, Any]) -> None:
    granted = [{"resource": resource, "actions": [*ACTIONS, "listCollections"]}]
    assert rights_missing(BOOKINGS, "customer", granted) == {}


@pytest.mark.parametrize(
    "resource", [{"cluster": True}, {"db": "other", "collection": ""}, {"db": "customer", "collection": "x"}]
)
def test_a_right_elsewhere_is_none_here(resource: dict[str, Any]) -> None:
    granted = [{"resource": resource, "actions": [*ACTIONS, "listCollections"]}]
    assert rights_missing(BOOKINGS, "customer", granted) == {
        "": ["listCollections"],
        "bookings": rights_needed(BOOKINGS),
    }


async def test_the_doctor_names_what_the_user_may_not_do(
    settings_of_test: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def privileges(_client: object) -> list[dict[str, Any]]:
        granted = role("find", "insert", "update", "remove")
        for each in granted:
            each["resource"]["db"] = ""
        return granted

    monkeypatch.setattr(doctor, "_privileges", privileges)
    checks = {each.name: each for each in await doctor.doctor(settings_of_test)}
    assert checks["customer database collections"].ok
    refused = checks["customer collection bookings"]
    assert not refused.ok
    assert refused.found == "missing: listIndexes"
    assert refused.advice
    assert refused.advice.endswith(".bookings")


async def test_a_store_that_asks_nobody_who_they_are_is_not_asked_for_rights(
    settings_of_test: Settings,
) -> None:
    names = {each.name for each in await doctor.doctor(settings_of_test)}
    assert "customer database version" in names
    assert not any(name.startswith("customer collection") for name in names)


async def test_the_audit_store_is_as_it_should_be(settings_of_test: Settings) -> None:
    async with open_redis(settings_of_test.url("audit_url")) as redis:
        await AuditStore(redis, settings_of_test.namespace).append([fact(), fact()])
    checks = {each.name: each for each in await doctor.doctor(settings_of_test)}
    audit = {name: each for name, each in checks.items() if name.startswith("audit store")}
    assert len(audit) >= 8
    assert all(each.ok for each in audit.values()), audit
    assert audit["audit store durability"].found == "append-only file, fsync always"
    assert audit["audit store entries"].found == "2 of 2"


async def test_the_doctor_names_what_the_service_may_too_much(settings_of_test: Settings) -> None:
    """With the retention user's rights, and with everybody's."""
    for url, excess in (("audit_retention_url", "XDEL"), ("logs_url", "FLUSHALL")):
        settings = settings_of_test.model_copy(update={"audit_url": getattr(settings_of_test, url)})
        (check,) = (
            each for each in await doctor._look_at_rights(settings) if each.name == "audit store rights"
        )
        assert not check.ok
        excessive = check.found if url == "audit_retention_url" else await excess_of(settings)
        assert excess in excessive


async def excess_of(settings: Settings) -> list[str]:
    async with open_redis(settings.url("audit_url")) as redis:
        return await let_through(redis, FORBIDDEN, "x:audit:doctor")


async def test_the_doctor_says_when_nothing_can_ever_be_archived(settings_of_test: Settings) -> None:
    settings = settings_of_test.model_copy(update={"audit_retention_url": None})
    checks = {each.name: each for each in await doctor.doctor(settings)}
    assert not checks["audit store retention user"].ok
    assert not checks["audit store durability"].ok
    assert checks["audit store durability"].found == "append-only file, fsync unknown"


async def test_the_doctor_sees_that_entries_were_trimmed(settings_of_test: Settings) -> None:
    async with open_redis(settings_of_test.url("audit_url")) as redis:
        await AuditStore(redis, settings_of_test.namespace).append([fact() for _ in range(9)])
        key = f"{settings_of_test.namespace}:audit:entries"
        await redis.xadd(key, {"entry": "{}"}, id="10-0", maxlen=2, approximate=False)
    (check,) = await doctor._look_at_entries(settings_of_test)
    assert (check.ok, check.found) == (False, "2 of 9")
    assert "astrocore audit verify" in (check.advice or "")


async def test_the_doctor_warns_before_the_memory_of_the_audit_store_is_used_up(
    settings_of_test: Settings,
) -> None:
    (check,) = await doctor._look_at_memory(settings_of_test)
    assert check.ok
    (check,) = await doctor._look_at_memory(settings_of_test.model_copy(update={"audit_megabytes": 1}))
    assert not check.ok
    assert check.found.endswith(" of 1 MB")


async def test_the_doctor_tells_what_the_verifier_has_said(settings_of_test: Settings) -> None:
    async with doctor._connection(settings_of_test, "core_database_url") as core:
        await verdicts.say(core, verdicts.VERIFIER, "entry 4", "entry 4: it is gone")
        (check,) = await doctor._look_at_verification(settings_of_test)
        assert (check.ok, check.found.endswith("UTC: entry 4: it is gone")) == (False, True)
        await verdicts.say(core, verdicts.VERIFIER)
        assert (await doctor._look_at_verification(settings_of_test))[0].ok
        await core.execute("UPDATE audit_verdicts SET said_at = now() - interval '4 days'")
        assert not (await doctor._look_at_verification(settings_of_test))[0].ok


async def test_the_doctor_misses_archives(settings_of_test: Settings, tmp_path: Path) -> None:
    async with open_archived(settings_of_test, tmp_path) as store:
        for _ in range(2):
            await store.seal(3)
        await store.archive()
        (check,) = await doctor._look_at_archives(store.settings)
        assert check.ok
        store.files[0].write_bytes(b"")
        (check,) = await doctor._look_at_archives(store.settings)
        assert check.found == f"missing: {store.files[0].name}"
        assert "audit restore" in (check.advice or "")
        await store.stores.core.execute("UPDATE audit_archives SET file = $1", str(tmp_path / "other"))
        assert (await doctor._look_at_archives(store.settings))[0].found == check.found
        await store.stores.core.execute("UPDATE audit_archives SET tombstone = 'none'")
        (check,) = await doctor._look_at_archives(store.settings)
        assert not check.ok
        assert "archive 1: its tombstone cannot be read" in check.found

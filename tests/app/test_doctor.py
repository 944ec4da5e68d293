"""What the doctor says about rights on the customer DB."""

from typing import Any

import pytest

from app import doctor
from app.reconciliation.entities import BOOKINGS
from app.reconciliation.mapping import load_mappings, mappings
from app.reconciliation.sides.document_rights import rights_missing, rights_needed
from config.settings import Settings

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

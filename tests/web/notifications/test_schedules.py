"""Schedules over HTTP, against real stores."""

from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from app.accounts.admission import Caller
from app.accounts.permissions import Scope
from app.clock import now
from app.notifications.recurring.plans.registry import SHIPPED
from app.scheduling.schedules import Declaration, load_declarations
from app.stores.connections import Stores
from tests.web.conftest import OPERATOR, TOKEN

ALL = "/v1/schedules"
WHY = {"reason": "the marketing of March"}
WANTED = {
    "name": "two-days-ahead", "cron": "0 9 * * *", "zone": "Europe/Madrid", "query": "launch_reminders",
    "options": {"hours_before": 48}, "catch_up": "skip", **WHY,
}  # fmt: skip
MINE = f"{ALL}/{WANTED['name']}"


@pytest.fixture
async def declared(mails: httpx.AsyncClient, stores: Stores) -> httpx.AsyncClient:
    """As the scheduler leaves the table behind."""
    async with stores.core.acquire() as connection:
        sweep = Declaration("sweep", "* * * * *", "sweep", catch_up="skip")
        await load_declarations(connection, [*SHIPPED, sweep], now=now())
    return mails


def faults(answer: httpx.Response) -> set[str]:
    assert answer.status_code == 422, answer.text
    return {each["where"] for each in answer.json()["errors"]}


async def fire(caller: httpx.AsyncClient, name: str, key: str = "k1") -> httpx.Response:
    return await caller.post(f"{ALL}/{name}/trigger", headers={"Idempotency-Key": key})


async def test_a_schedule_is_added_changed_switched_and_removed_with_a_fact_each(
    declared: httpx.AsyncClient, stores: Stores
) -> None:
    made = await declared.post(ALL, json=WANTED)
    assert (made.status_code, made.headers["location"]) == (201, MINE)
    shown = made.json()["schedule"]
    assert (shown["template"], shown["locale"], shown["fixed"], shown["enabled"]) == (
        "launch-reminder",
        "en",
        False,
        True,
    )
    assert [datetime.fromisoformat(each).minute for each in made.json()["next_ticks"]] == [0] * 5
    assert (await declared.post(ALL, json=WANTED)).status_code == 409

    changed = await declared.patch(MINE, json={"cron": "30 9 * * *", "options": {"hours_before": 36}, **WHY})
    shown = changed.json()["schedule"]
    assert (shown["cron"], shown["zone"], shown["options"], shown["catch_up"]) == (
        "30 9 * * *", "Europe/Madrid", {"hours_before": 36}, "skip",
    )  # fmt: skip
    off = await declared.post(f"{MINE}/disable", json=WHY)
    assert (off.json()["schedule"]["enabled"], off.json()["next_ticks"]) == (False, [])
    assert (await declared.post(f"{MINE}/disable", json=WHY)).status_code == 409
    assert (await declared.post(f"{MINE}/enable", json=WHY)).json()["schedule"]["next_tick"]
    assert faults(await declared.delete(MINE, params={"reason": " "})) == {"reason"}
    assert (await declared.delete(MINE, params=WHY)).status_code == 204
    assert (await declared.get(MINE)).status_code == 404
    rows = await stores.core.fetch(
        "SELECT entry ->> 'name' AS name FROM audit_outbox WHERE entry ->> 'entity' = 'schedules' ORDER BY position"
    )
    assert [row["name"].rpartition(":")[2] for row in rows] == [
        "create",
        "change",
        "disable",
        "enable",
        "delete",
    ]


async def test_a_schedule_that_cannot_be_kept_is_refused_with_every_fault(
    declared: httpx.AsyncClient,
) -> None:
    bad = WANTED | {"name": "Due!", "cron": "0 9 * *", "options": {}, "template": "reset-password"}
    assert faults(await declared.post(ALL, json=bad)) == {"name", "cron", "options/hours_before"}
    assert faults(await declared.post(ALL, json=WANTED | {"template": "reset-password"})) == {"template"}
    assert faults(await declared.post(ALL, json=WANTED | {"template": "none"})) == {"template"}
    assert faults(await declared.post(ALL, json=WANTED | {"name": "due", "zone": "Mars/Olympus"})) == {
        "name",
        "zone",
    }
    neither = await declared.post(ALL, json=WANTED | {"cron": "whenever", "zone": "Mars/Olympus"})
    assert faults(neither) == {"cron", "zone"}
    assert faults(await declared.post(ALL, json=WANTED | {"query": "everybody", "locale": "?!"})) == {"query"}
    assert (await declared.get(MINE)).status_code == 404


async def test_what_comes_with_the_service_is_changed_and_reset(declared: httpx.AsyncClient) -> None:
    one = f"{ALL}/invoices-due"
    before = (await declared.get(one)).json()["schedule"]
    changed = (await declared.patch(one, json={"cron": "5 9 * * *", "zone": "Europe/Madrid", **WHY})).json()
    assert (changed["schedule"]["cron"], changed["schedule"]["edited"]) == ("5 9 * * *", True)
    assert faults(await declared.patch(one, json={"cron": "whenever", **WHY})) == {"cron"}
    after = (await declared.post(f"{one}/reset", json=WHY)).json()["schedule"]
    assert [after[each] for each in ("cron", "zone", "options", "edited")] == [
        *(before[each] for each in ("cron", "zone", "options")), False
    ]  # fmt: skip
    assert (await declared.post(f"{one}/reset", json=WHY)).status_code == 409
    await declared.post(ALL, json=WANTED)
    assert (await declared.post(f"{MINE}/reset", json=WHY)).status_code == 409


async def test_what_is_none_of_mail_is_switched_and_no_more(declared: httpx.AsyncClient) -> None:
    listed = {each["name"]: each for each in (await declared.get(ALL)).json()}
    assert (listed["sweep"]["actor"], listed["sweep"]["query"]) == ("sweep", None)
    assert listed["invoices-due"]["fixed"]
    assert (await declared.patch(f"{ALL}/sweep", json={"cron": "@daily", **WHY})).status_code == 409
    for name in ("sweep", "invoices-due"):
        assert (await declared.delete(f"{ALL}/{name}", params=WHY)).status_code == 409
    assert not (await declared.post(f"{ALL}/sweep/disable", json=WHY)).json()["schedule"]["enabled"]


async def test_any_schedule_is_fired_by_hand_once_per_key_be_it_on_or_off(
    declared: httpx.AsyncClient, stores: Stores
) -> None:
    await declared.post(f"{ALL}/sweep/disable", json=WHY)
    first, again, other = [await fire(declared, "sweep", key) for key in ("k1", "k1", "k2")]
    assert (first.status_code, again.headers["idempotency-replayed"]) == (202, "true")
    assert first.json() == again.json() != other.json()
    rows = await stores.core.fetch("SELECT status, triggered_by FROM ticks WHERE schedule = 'sweep'")
    assert [tuple(row) for row in rows] == [("pending", OPERATOR.name)] * 2
    assert (await fire(declared, "invoices-due")).status_code == 422  # the key was for another
    assert (await declared.post(f"{ALL}/sweep/trigger")).status_code == 400
    assert (await fire(declared, "nothing", "k3")).status_code == 404
    ticks = (await declared.get(f"{ALL}/sweep")).json()["last_ticks"]
    assert [each["tick"] for each in ticks] == [other.json()["tick"], first.json()["tick"]]


async def test_what_is_due_is_listed_page_by_page_in_order(declared: httpx.AsyncClient) -> None:
    seen: list[Any] = []
    cursor: dict[str, Any] = {}
    while True:
        page = (await declared.get(f"{ALL}/due", params={"days": 2, "limit": 40, **cursor})).json()
        seen += page["items"]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    places = [(each["tick"], each["schedule"]) for each in seen]
    assert places == sorted(set(places))
    # Three every hour, two every day, one on Mondays; none of other work.
    assert len([each for each in seen if each["schedule"] != "weekly-supplier-digest"]) == 48 * 3 + 2 * 2
    assert all(now() < datetime.fromisoformat(each["tick"]) <= now() + timedelta(days=2) for each in seen)
    only = (await declared.get(f"{ALL}/due", params={"schedule": "invoices-due"})).json()
    assert [each["query"] for each in only["items"]] == ["invoices_due"] * 30
    for none in ("none", ""):
        assert (await declared.get(f"{ALL}/due", params={"schedule": none})).status_code == 404
    assert faults(await declared.get(f"{ALL}/due", params={"days": 0})) == {"days"}
    assert faults(await declared.get(f"{ALL}/due", params={"cursor": "bm9uc2Vuc2U"})) == {"cursor"}


async def test_a_dry_run_of_nobody_tells_nobody(declared: httpx.AsyncClient) -> None:
    view = (await declared.post(f"{ALL}/invoices-due/dry-run")).json()
    assert (view["recipients"], view["skipped"], view["complete"], view["mail"]) == ([], [], True, None)


async def test_a_schedule_of_other_work_writes_to_nobody(declared: httpx.AsyncClient) -> None:
    answers = [
        await declared.post(f"{ALL}/sweep/dry-run"),
        await declared.patch(f"{ALL}/sweep", json={"cron": "0 9 * * *", **WHY}),
    ]
    assert {(each.status_code, each.json()["detail"]) for each in answers} == {
        (409, "schedule 'sweep' is none of mail; it can be fired, switched on and off")
    }


async def test_whoever_may_only_look_fires_and_tries_nothing(
    declared: httpx.AsyncClient, callers: dict[str, Caller]
) -> None:
    callers[TOKEN] = Caller("client:reader", "reader", frozenset({Scope.NOTIFICATIONS_READ}))
    assert (await declared.get(ALL)).status_code == 200
    assert (await declared.post(f"{ALL}/invoices-due/dry-run")).status_code == 403
    assert (await fire(declared, "invoices-due")).status_code == 403

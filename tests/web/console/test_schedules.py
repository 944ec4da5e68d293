"""Schedules in the console."""

import re
from collections.abc import Awaitable, Callable

import pytest

from app.accounts.permissions import Role
from app.clock import now
from app.notifications.recurring.plans.registry import SHIPPED
from app.scheduling.schedules import Declaration, load_declarations
from app.stores.connections import Stores
from tests.web.console.conftest import Browser
from web.console.when import when

ALL = "/console/schedules"
MINE = f"{ALL}/invoices-due"
WHY = "the holidays"


@pytest.fixture
async def declared(stores: Stores) -> Stores:
    """As the scheduler leaves the table behind."""
    sweep = Declaration("sweep", "* * * * *", "sweep", catch_up="skip")
    async with stores.core.acquire() as connection:
        await load_declarations(connection, [*SHIPPED, sweep], now=now())
    return stores


def forms(browser: Browser) -> set[str]:
    return set(re.findall(rf'action="{MINE}/(\w+)"', browser.page.text))


async def told(stores: Stores) -> list[tuple[str, str]]:
    """The facts about schedules, with their reasons."""
    rows = await stores.core.fetch(
        "SELECT entry ->> 'name' AS name, entry ->> 'reason' AS reason FROM audit_outbox "
        "WHERE entry ->> 'entity' = 'schedules' ORDER BY position"
    )
    return [(row["name"].rpartition(":")[2], row["reason"]) for row in rows]


async def test_schedules_are_listed_with_when_they_are_due(operator: Browser, declared: Stores) -> None:
    await operator.open(ALL)
    for shown in (
        "weekly-supplier-digest", "every Monday at 07:00", "every hour, 5 minutes past", "invoices due, by invoice-due",
        "work of the service", "never yet",
    ):  # fmt: skip
        assert shown in operator.text, shown
    assert "not while it is off" not in operator.text


async def test_a_schedule_is_switched_off_and_on_again_with_a_reason(
    operator: Browser, declared: Stores
) -> None:
    await operator.open(MINE)
    assert operator.text.count("08:00:00") == 5
    assert "invoices due" in operator.text
    assert forms(operator) == {"trigger", "disable"}
    silent = await operator.submit(f"{MINE}/disable", reason=" ")
    assert (silent.status_code, "Reason must say why" in operator.text) == (422, True)
    done = await operator.submit(f"{MINE}/disable", reason=WHY)
    await operator.open(done.headers["location"])
    assert "The schedule is off." in operator.text
    assert forms(operator) == {"trigger", "enable"}
    again = await operator.submit(f"{MINE}/disable", reason=WHY)
    assert (again.status_code, "is off already" in operator.text) == (409, True)
    await operator.submit(f"{MINE}/enable", reason=WHY)
    assert await told(declared) == [("disable", WHY), ("enable", WHY)]


async def test_a_schedule_is_fired_once_per_page_however_often_its_form_is_sent(
    operator: Browser, declared: Stores
) -> None:
    await operator.open(MINE)
    (key,) = re.findall(r'name="key" value="([^"]+)"', operator.page.text)
    page = operator.page
    for _ in range(2):
        operator.page = page
        done = await operator.submit(f"{MINE}/trigger", reason=WHY, key=key)
        assert done.headers["location"] == f"{MINE}?done=triggered"
    rows = await declared.core.fetch("SELECT status, triggered_by FROM ticks WHERE schedule = 'invoices-due'")
    assert [row["status"] for row in rows] == ["pending"]
    assert await told(declared) == [("trigger", WHY)]
    await operator.open(MINE)
    assert f"Fired by {rows[0]['triggered_by']}." in operator.text
    for given in ({"reason": WHY}, {"key": key}, {"reason": WHY, "key": "x"}):
        assert (await operator.submit(f"{MINE}/trigger", **given)).status_code == 422


async def test_whoever_may_only_look_switches_and_fires_nothing(
    signed_in_as: Callable[[Role], Awaitable[Browser]], declared: Stores
) -> None:
    auditor = await signed_in_as(Role.AUDITOR)
    await auditor.open(MINE)
    assert forms(auditor) == set()
    for what in ("enable", "disable", "trigger"):
        assert (await auditor.submit(f"{MINE}/{what}", reason=WHY, key="x")).status_code == 403
    assert await told(declared) == []
    customer = await signed_in_as(Role.CUSTOMER)
    assert (await customer.open(ALL)).status_code == 403


async def test_what_is_no_schedule_is_not_found(operator: Browser, declared: Stores) -> None:
    for name in ("nothing", "%00", "%3Cb%3E"):
        assert (await operator.open(f"{ALL}/{name}")).status_code == 404, name
        assert (await operator.submit(f"{ALL}/{name}/disable", reason=WHY)).status_code == 404, name


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("* * * * *", "every minute"),
        ("*/15 * * * *", "every 15 minutes"),
        ("*/7 * * * *", "cron */7 * * * *"),
        ("*/0 * * * *", "cron */0 * * * *"),
        ("5 * * * *", "every hour, 5 minutes past"),
        ("@hourly", "every hour, on the hour"),
        ("@daily", "every day at 00:00"),
        ("30 9 * * *", "every day at 09:30"),
        ("0 7 * * 1", "every Monday at 07:00"),
        ("0 7 * * 7", "every Sunday at 07:00"),
        ("0 7 * * mon", "cron 0 7 * * mon"),
        ("0 7 1 * *", "cron 0 7 1 * *"),
        ("0 7 1 * 1", "cron 0 7 1 * 1"),
        ("0,30 7 * * *", "cron 0,30 7 * * *"),
        ("5 * * * 1", "cron 5 * * * 1"),
    ],
)
def test_what_is_short_in_words_is_told_in_words(cron: str, words: str) -> None:
    assert when(cron) == words

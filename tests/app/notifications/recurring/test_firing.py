"""Ticks of schedules of mail: who is written to, once, whatever happens between."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from pydantic import SecretStr

from app.audit.entries import Fact
from app.audit.queries import EntryFilter, list_entries
from app.audit.store import AuditStore
from app.errors import InvalidInputError, NotFoundError
from app.notifications.recurring import firing, trying
from app.notifications.recurring.plans import people, retries
from app.notifications.recurring.plans.registry import ACTOR, SHIPPED, plan_of, read_plan
from app.notifications.templates import catalogue
from app.notifications.templates.installing import ensure_shipped
from app.scheduling.schedules import Declaration, create_schedule, load_declarations
from app.stores.connections import Stores
from app.stores.vocabulary import BookingStatus, InvoiceStatus, LaunchStatus
from config.settings import Settings
from tests.app.notifications.market import Market

NOW = datetime(2027, 3, 7, 12, tzinfo=UTC)  # a Sunday
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
KEY = "a:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="


@pytest.fixture
def settings_of_test(settings_of_test: Settings) -> Settings:
    more = {
        "encryption_keys": SecretStr(KEY),
        "notification_smtp_host": "127.0.0.1",
        "notification_smtp_tls": "none",
        "notification_from": "no-reply@astrobookings.example",
        "customer_site_url": "https://astrobookings.example",
    }
    return settings_of_test.model_copy(update=more)


@pytest.fixture
async def market(stores: Stores) -> Market:
    await ensure_shipped(stores.settings)
    return await Market.open(stores, NOW)


async def scheduled(stores: Stores, query: str, **options: Any) -> str:
    wanted = Declaration("s", "0 * * * *", ACTOR, args=plan_of(query, options=options).args())
    await create_schedule(stores.core, wanted, now=NOW)
    return "s"


async def fired(
    stores: Stores, at: datetime = NOW, *, moment: datetime | None = None, name: str = "s"
) -> int:
    await stores.core.execute(
        "INSERT INTO ticks (schedule, tick, status) VALUES ($1, $2, 'fired') ON CONFLICT DO NOTHING", name, at
    )
    return (await firing.fire(stores, name, at, moment=moment or at)).mails


async def mails(stores: Stores) -> list[Any]:
    return list(await stores.core.fetch("SELECT *, data::text AS filled FROM notifications ORDER BY id"))


async def test_a_reminder_goes_once_when_its_launch_is_near(market: Market, stores: Stores) -> None:
    near = await market.launch(NOW + 7 * DAY - HOUR / 2)
    booking, launch = await market.book(near), NOW + 7 * DAY - HOUR / 2
    await market.book(await market.launch(NOW + 7 * DAY + HOUR / 2))
    await scheduled(stores, "launch_reminders", hours_before=168)
    assert await fired(stores) == 1
    assert await fired(stores) == 0
    assert await fired(stores, NOW + timedelta(seconds=1)) == 0
    (mail,) = await mails(stores)
    assert (mail["template"], mail["recipient_kind"], mail["not_after"]) == (
        "launch-reminder",
        "customer",
        launch,
    )
    assert (mail["tick"], mail["occasion"]) == (launch - 7 * DAY, str(booking))
    assert f"https://astrobookings.example/bookings/{booking}" in mail["filled"]
    assert '"days": 7' in mail["filled"]
    assert await fired(stores, NOW + HOUR) == 1
    assert await stores.core.fetchval("SELECT count(*) FROM notification_batches") == 2


async def test_whoever_is_not_travelling_is_not_reminded(market: Market, stores: Stores) -> None:
    date = NOW + 7 * DAY - HOUR / 2
    for status in (LaunchStatus.ABORTED, LaunchStatus.COMPLETED):
        await market.book(await market.launch(date, status=status))
    launch = await market.launch(date, status=LaunchStatus.DELAYED)
    await market.book(launch, status=BookingStatus.CANCELLED, cancelled_at=NOW - DAY)
    await market.book(launch, at=NOW - HOUR / 4)  # after the reminder was due
    await market.book(await market.launch(NOW - HOUR))
    await scheduled(stores, "launch_reminders", hours_before=168)
    assert await fired(stores) == 0
    await market.book(launch)
    assert await fired(stores, NOW + timedelta(seconds=1)) == 1


async def test_a_launch_that_is_delayed_moves_its_reminders(market: Market, stores: Stores) -> None:
    launch = await market.launch(NOW + DAY - HOUR / 2)
    await market.book(launch)
    await scheduled(stores, "launch_reminders", hours_before=24)
    await market.delay(launch, NOW + 3 * DAY)
    assert await fired(stores) == 0
    assert await fired(stores, NOW + 2 * DAY) == 1
    await market.delay(launch, NOW + 9 * DAY)
    assert [await fired(stores, NOW + n * DAY) for n in (3, 8, 9)] == [0, 1, 0]
    assert len(await mails(stores)) == 2


async def test_one_tick_after_an_outage_reminds_of_everything_between(market: Market, stores: Stores) -> None:
    await scheduled(stores, "launch_reminders", hours_before=168)
    await fired(stores, NOW - 3 * DAY)
    for days in (4.1, 5, 6.9, 0.5):
        await market.book(await market.launch(NOW + days * DAY))
    assert await fired(stores) == 3  # that of half a day is for the 24 hours' reminder
    assert sorted(row["filled"].split('"days": ')[1][0] for row in await mails(stores)) == ["5", "5", "7"]


async def test_a_tick_that_dies_between_two_batches_is_finished_by_the_next_try(
    market: Market, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(people, "BATCH", 2)
    launch = await market.launch(NOW + DAY - HOUR / 2)
    for _ in range(5):
        await market.book(launch)
    await scheduled(stores, "launch_reminders", hours_before=24)
    asking, seen = firing._ask, []

    async def dies(*given: Any) -> Any:
        if len(seen) == 2:
            raise ConnectionError
        seen.append(await asking(*given))
        return seen[-1]

    monkeypatch.setattr(firing, "_ask", dies)
    with pytest.raises(ConnectionError):
        await fired(stores)
    monkeypatch.setattr(firing, "_ask", asking)
    assert len(await mails(stores)) == 4
    # The next tick may come before the one that died is tried again.
    assert await fired(stores, NOW + HOUR) == 1
    assert await fired(stores) == 0
    rows = await stores.core.fetch("SELECT mails, finished_at FROM ticks ORDER BY tick")
    assert [row["mails"] for row in rows] == [4, 1]
    assert all(row["finished_at"] for row in rows)


async def test_somebody_who_cannot_be_written_to_holds_nobody_up(market: Market, stores: Stores) -> None:
    launch = await market.launch(NOW + DAY - HOUR / 2)
    for email in ("nowhere", "ada@example.com"):
        await market.book(launch, await market.customer(email=email))
    await market.book(launch, UUID(int=1))  # whom nobody knows
    await scheduled(stores, "launch_reminders", hours_before=24)
    assert await fired(stores) == 1
    row = await stores.core.fetchrow("SELECT mails, skipped FROM ticks")
    assert (row["mails"], row["skipped"]) == (1, 2)


async def test_whoever_has_no_name_to_be_greeted_by_is_written_to_without(
    market: Market, stores: Stores
) -> None:
    launch = await market.launch(NOW + DAY - HOUR / 2)
    for name in ("Ada", "", "it is off, see https://evil.example"):
        await market.book(launch, await market.customer(first_name=name))
    await scheduled(stores, "launch_reminders", hours_before=24)
    assert await fired(stores) == 3
    greeted = sorted(
        json.loads(each["filled"])["customer"].get("first_name", "") for each in await mails(stores)
    )
    assert greeted == ["", "", "Ada"]


async def test_a_disabled_template_sends_nothing_and_the_tick_says_so(market: Market, stores: Stores) -> None:
    await market.book(await market.launch(NOW + DAY - HOUR / 2))
    await scheduled(stores, "launch_reminders", hours_before=24)
    await catalogue.enable_template(stores, "launch-reminder", enabled=False, by="op", reason="wrong")
    assert await fired(stores) == 0
    assert "disabled" in await stores.core.fetchval("SELECT note FROM ticks")


async def test_invoices_are_told_of_before_and_after_their_day(market: Market, stores: Stores) -> None:
    launch, today = await market.launch(NOW + DAY), NOW.date()
    invoice = await market.invoice(launch, today + 3 * DAY)
    for status in (InvoiceStatus.PAID, InvoiceStatus.REFUNDED):
        await market.invoice(launch, today + 3 * DAY, status)
    await market.invoice(launch, today + 8 * DAY)
    await scheduled(stores, "invoices_due", days_before=7)
    assert [await fired(stores, NOW + n * DAY) for n in range(3)] == [1, 1, 0]
    (first, _) = await mails(stores)
    assert (first["occasion"], first["recipient_id"]) == (str(invoice), market.supplier)
    assert first["not_after"] == datetime(2027, 3, 11, tzinfo=UTC)
    assert '"overdue": false' in first["filled"]
    assert '"amount": {"amount": "48250.00", "currency": "EUR"}' in first["filled"]


async def test_an_overdue_invoice_is_told_of_the_day_after_and_weekly_until_enough(
    market: Market, stores: Stores
) -> None:
    await market.invoice(await market.launch(NOW + DAY), NOW.date())
    await scheduled(stores, "invoices_overdue", again=2)
    told = [await fired(stores, NOW + n * DAY) for n in range(30)]
    assert [day for day, count in enumerate(told) if count] == [1, 8, 15]
    # None is sent beside the next one.
    assert all(mail["not_after"] - mail["tick"] == 7 * DAY for mail in await mails(stores))


async def test_suppliers_get_one_digest_of_the_last_whole_week(market: Market, stores: Stores) -> None:
    launch = await market.launch(NOW + 20 * DAY, free=9)
    monday = datetime(2027, 3, 8, tzinfo=UTC)
    await market.book(launch, at=monday - 2 * DAY, seats=3)
    await market.book(
        launch, at=monday - 3 * DAY, seats=1, status=BookingStatus.CANCELLED, cancelled_at=monday - DAY
    )
    await market.book(launch, at=monday + HOUR)
    await market.book(launch, at=monday - 8 * DAY)
    await scheduled(stores, "weekly_supplier_digest")
    assert [await fired(stores, monday + n * DAY) for n in (0.3, 1, 6)] == [1, 0, 0]
    (mail,) = await mails(stores)
    assert (mail["kind"], mail["tick"], mail["occasion"]) == ("digest", monday, str(market.supplier))
    data = msgspec.json.decode(mail["filled"])
    assert data["totals"] == {
        "bookings": 2, "seats": 4, "cancellations": 1, "revenue": {"amount": "300.0", "currency": "EUR"},
    }  # fmt: skip
    assert [(each["sold_seats"], each["new_seats"]) for each in data["launches"]] == [(3, 4)]
    assert data["week"] == {"first_day": "2027-03-01", "last_day": "2027-03-07"}
    await stores.core.execute("UPDATE schedules SET zone = 'Europe/Madrid'")
    assert await fired(stores, monday + 6.1 * DAY) == 0
    assert await fired(stores, monday + 7.3 * DAY) == 1


async def test_vips_hear_of_a_new_launch_before_everybody_else(market: Market, stores: Stores) -> None:
    vip, other = await market.customer(vip=True), await market.customer()
    await market.launch(NOW + 90 * DAY, created_at=NOW - HOUR / 2)
    await market.launch(NOW + 90 * DAY, created_at=NOW - HOUR / 2, free=0)
    await scheduled(stores, "new_launches", vip_hours=6)
    assert await fired(stores) == 1
    assert [await fired(stores, NOW + n * HOUR) for n in (1, 6, 7)] == [0, 1, 0]
    first, last = await mails(stores)
    assert (first["recipient_id"], last["recipient_id"]) == (vip, other)
    assert "public_from" in first["filled"]
    assert "public_from" not in last["filled"]


async def test_whoever_sees_a_launch_late_loses_no_lead(market: Market, stores: Stores) -> None:
    vip, other = await market.customer(vip=True), await market.customer()
    launch = await market.launch(NOW + 90 * DAY, created_at=NOW - HOUR / 2)
    seen = await stores.customer["launches"].find_one_and_delete({"_id": launch})
    assert seen
    await scheduled(stores, "new_launches", vip_hours=6)
    assert await fired(stores) == 0
    await stores.customer["launches"].insert_one(seen)
    assert [await fired(stores, NOW + n * HOUR) for n in (1, 2, 6)] == [1, 0, 1]
    assert [row["recipient_id"] for row in await mails(stores)] == [vip, other]


async def test_a_launch_that_is_seen_when_it_is_open_to_all_is_told_to_all_once(
    market: Market, stores: Stores
) -> None:
    await market.customer(vip=True)
    launch = await market.launch(NOW + 90 * DAY, created_at=NOW - HOUR / 2)
    seen = await stores.customer["launches"].find_one_and_delete({"_id": launch})
    assert seen
    await scheduled(stores, "new_launches", vip_hours=0)
    assert await fired(stores) == 0
    await stores.customer["launches"].insert_one(seen)
    found = await trying.dry_run(stores, "s", by="op", moment=NOW + HOUR, limit=10)
    assert len(found.recipients) == 1
    assert await fired(stores, NOW + HOUR) == 1


async def test_every_mail_that_was_given_up_is_tried_once_more_however_many_there_are(
    market: Market, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "BATCH", 2)
    launch = await market.launch(NOW + DAY - HOUR / 2)
    for _ in range(5):
        await market.book(launch)
    await scheduled(stores, "launch_reminders", hours_before=24)
    assert await fired(stores) == 5
    await stores.core.execute(
        "UPDATE notifications SET state = 'failed', attempts = 1, next_at = NULL, updated_at = $1", NOW
    )
    await stores.core.execute(
        "INSERT INTO notification_attempts (notification_id, number, transport, started_at, outcome) "
        "SELECT id, 1, 'smtp', $1, 'retry' FROM notifications",
        NOW,
    )
    sweep = Declaration("sweep", "50 * * * *", ACTOR, args=plan_of("retry_sweep").args())
    await create_schedule(stores.core, sweep, now=NOW)
    found = await trying.dry_run(stores, "sweep", by="op", moment=NOW + HOUR, limit=3)
    assert (len(found.retries), found.complete) == (3, False)
    assert await fired(stores, NOW + HOUR, name="sweep") == 5
    assert await fired(stores, NOW + 2 * HOUR, name="sweep") == 0


async def test_mails_that_were_given_up_are_tried_once_more_when_their_service_answers(
    market: Market, stores: Stores
) -> None:
    await market.book(await market.launch(NOW + DAY - HOUR / 2))
    await scheduled(stores, "launch_reminders", hours_before=24)
    await fired(stores)
    await stores.core.execute(
        "UPDATE notifications SET state = 'failed', attempts = 1, next_at = NULL, updated_at = $1", NOW
    )
    await stores.core.execute(
        "INSERT INTO notification_attempts (notification_id, number, transport, started_at, outcome) "
        "SELECT id, 1, 'smtp', $1, 'refused' FROM notifications",
        NOW,
    )
    sweep = Declaration("sweep", "50 * * * *", ACTOR, args=plan_of("retry_sweep").args())
    await create_schedule(stores.core, sweep, now=NOW)
    assert await fired(stores, NOW + HOUR, name="sweep") == 0
    await stores.core.execute("UPDATE notification_attempts SET outcome = 'retry'")
    await stores.core.execute(
        "INSERT INTO transport_circuits (name, state, trial_at) VALUES ('smtp', 'open', now())"
    )
    assert await fired(stores, NOW + 2 * HOUR, name="sweep") == 0
    await stores.core.execute("UPDATE transport_circuits SET state = 'closed', trial_at = NULL")
    assert await fired(stores, NOW + 3 * HOUR, name="sweep") == 1
    await stores.core.execute("UPDATE notifications SET state = 'failed', next_at = NULL, attempts = 1")
    await stores.core.execute(
        "INSERT INTO notification_attempts (notification_id, number, transport, started_at, outcome) "
        "SELECT id, 1, 'smtp', $1, 'retry' FROM notifications WHERE retry_of IS NOT NULL",
        NOW,
    )
    assert await fired(stores, NOW + 4 * HOUR, name="sweep") == 0


async def test_a_dry_run_tells_who_would_get_what_and_asks_for_nothing(
    market: Market, stores: Stores
) -> None:
    launch = await market.launch(NOW + DAY - HOUR / 2)
    ada = await market.customer(email="Ada@example.com")
    for each in (ada, UUID(int=1)):
        await market.book(launch, each)
    await scheduled(stores, "launch_reminders", hours_before=24)
    await stores.core.execute(
        "INSERT INTO suppressions (email_key, scope, reason, caused_by) VALUES ('ada@example.com', 'all', 'operator', 'op')"
    )
    view = await trying.dry_run(stores, "s", by="op", moment=NOW, limit=10)
    (would,) = view.recipients
    assert (would.id, would.email, would.blocked) == (
        ada,
        "Ada@example.com",
        "the address is blocked: operator",
    )
    assert [each.id for each in view.skipped] == [UUID(int=1)]
    assert view.mail is not None
    assert "24 hours" in view.mail.text
    assert (await mails(stores), view.complete) == ([], True)
    (entry,) = (await list_entries(AuditStore.of(stores), EntryFilter(actor="op"))).items
    assert entry.entry.name == Fact.SCHEDULE_TRIED


async def test_a_schedule_that_is_gone_or_senseless_is_told_apart(market: Market, stores: Stores) -> None:
    with pytest.raises(NotFoundError):
        await firing.fire(stores, "s", NOW, moment=NOW)
    await scheduled(stores, "retry_sweep")
    await stores.core.execute("""UPDATE schedules SET args = '{"query": "nonsense"}'""")
    with pytest.raises(InvalidInputError):
        await fired(stores)


async def test_what_is_shipped_can_be_read_and_becomes_rows(stores: Stores) -> None:
    async with stores.core.acquire() as connection:
        await load_declarations(connection, SHIPPED, now=NOW)
    assert {read_plan(each).query for each in SHIPPED} == {
        "launch_reminders", "invoices_due", "invoices_overdue", "weekly_supplier_digest", "retry_sweep",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("query", "options", "where"),
    [
        ("nonsense", {}, ["query"]),
        ("launch_reminders", {}, ["options/hours_before"]),
        ("launch_reminders", {"hours_before": 0}, ["options/hours_before"]),
        ("launch_reminders", {"hours_before": "7", "more": 1}, ["options/more", "options/hours_before"]),
        ("retry_sweep", {"hours": 24.5}, ["options/hours"]),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused_with_every_fault(
    query: str, options: dict[str, Any], where: list[str]
) -> None:
    with pytest.raises(InvalidInputError) as refused:
        plan_of(query, options=options)
    assert [each.where for each in refused.value.faults] == where

"""S6: mail goes by itself on its schedule, once, and whoever drives schedules can fire them, try them and look ahead."""

import os
import signal
import subprocess
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.clock import now
from app.embedded.mailbox import Mailbox
from app.stores.connections import Stores
from tests.app.notifications.market import Market
from tests.stories.conftest import System, wait_for

ALL = "/v1/schedules"
WHY = {"reason": "the story"}


@pytest.fixture
async def market(databases: Stores) -> AsyncIterator[Market]:
    """Other stories know what is in the databases: nothing of it stays there."""
    opened = await Market.open(databases, now())
    yield opened
    await opened.close()


def received(system: System, email: str) -> int:
    return sum(email in each.to for each in Mailbox.below(system.data_dir).latest(500))


def fired(system: System, name: str, *, times: int = 1) -> dict[str, Any]:
    """Fire a schedule by hand, under one key however often; the tick that came of it, once it was seen through."""
    key = {"Idempotency-Key": str(uuid4())}
    answers = [system.api.post(f"{ALL}/{name}/trigger", headers=key) for _ in range(times)]
    assert {each.status_code for each in answers} == {202}, answers[0].text
    (tick,) = {each.json()["tick"] for each in answers}

    def look() -> Any:
        ticks = system.api.get(f"{ALL}/{name}").json()["last_ticks"]
        return next(each for each in ticks if each["tick"] == tick)

    found: dict[str, Any] = wait_for(look, lambda each: each["finished_at"] or each["status"] == "missed")
    return found


async def reminder(system: System, market: Market, *, hours: int) -> tuple[str, UUID, str]:
    """A schedule of reminders, a booking that it is due for, and the traveller's address."""
    email, name = f"ada-{uuid4().hex[:8]}@example.com", f"story-{uuid4().hex[:8]}"
    launch = await market.launch(now() + timedelta(hours=hours) - timedelta(minutes=5))
    await market.book(launch, await market.customer(email=email))
    system.cli(
        "schedules", "add", name, "--cron", "0 0 1 1 *", "--query", "launch_reminders",
        "--option", f"hours_before={hours}", "--reason", "the story",
    )  # fmt: skip
    return name, launch, email


async def test_a_schedule_is_tried_fired_and_sends_once(system: System, market: Market) -> None:
    name, launch, email = await reminder(system, market, hours=8000)
    tried = system.cli_json("schedules", "dry-run", name, "--limit", "1000")
    assert [each["email"] for each in tried["recipients"]].count(email) == 1
    assert received(system, email) == 0

    assert fired(system, name, times=2)["mails"] == len(tried["recipients"])
    wait_for(lambda: received(system, email), lambda count: count == 1)
    assert fired(system, name)["mails"] == 0

    (mail,) = system.api.get("/v1/notifications", params={"email": email}).json()["items"]
    told = system.cli("notifications", "show", mail["id"])
    assert f"the schedule {name}" in " ".join(told.split())

    # A delay moves the reminder: it is due again, at the new date.
    await market.delay(launch, now() + timedelta(hours=7999))
    assert fired(system, name)["mails"] == 1
    wait_for(lambda: received(system, email), lambda count: count == 2)
    audit = system.api.get("/v1/audit", params={"entity": "schedules", "id": name}).json()["items"]
    assert [each["name"].rpartition(":")[2] for each in audit] == ["trigger"] * 3 + ["create"]


async def test_a_scheduler_that_is_killed_loses_no_tick_and_sends_none_twice(
    system: System, market: Market
) -> None:
    name, _, email = await reminder(system, market, hours=8400)
    system.cli("schedules", "disable", name, "--reason", "by hand alone")
    assert kill_scheduler()
    assert fired(system, name)["mails"] >= 1
    assert wait_for(lambda: received(system, email), lambda count: count == 1)
    assert fired(system, name)["mails"] == 0


async def test_a_tick_whose_message_the_broker_has_lost_is_seen_through_all_the_same(
    system: System, market: Market, databases: Stores
) -> None:
    name, _, email = await reminder(system, market, hours=8200)
    await databases.core.execute(
        "INSERT INTO ticks (schedule, tick, status, sent_at) VALUES ($1, $2, 'fired', $2::timestamptz - interval '15 minutes')",
        name,
        now(),
    )
    # It comes by itself every other minute.
    key = {"Idempotency-Key": str(uuid4())}
    assert system.api.post(f"{ALL}/resume_ticks/trigger", headers=key).status_code == 202
    wait_for(lambda: received(system, email), lambda count: count == 1)
    (seen,) = system.api.get(f"{ALL}/{name}").json()["last_ticks"]
    assert (seen["resent"], seen["mails"] > 0) == (1, True)


def test_what_is_due_in_the_next_days_is_listed(system: System) -> None:
    listed = wait_for(lambda: system.cli_json("schedules", "list", "--mail"), lambda found: len(found) >= 6)
    assert {"launch-reminders-7-days", "launch-reminders-24-hours", "invoices-due", "invoices-overdue",
            "weekly-supplier-digest", "retry-sweep"} <= {each["name"] for each in listed}  # fmt: skip
    page = system.cli_json("schedules", "due", "--days", "30", "--schedule", "weekly-supplier-digest")
    assert len(page["items"]) in (4, 5)
    assert "launch_reminders" in system.cli("schedules", "due", "--limit", "5")


def kill_scheduler() -> int:
    """Kill the scheduler of this story's system, and no other: those that were started below this very process."""
    found = [pid for pid in _below(os.getpid()) if b"actors.scheduler" in _command(pid)]
    for pid in found:
        os.kill(pid, signal.SIGKILL)
    return len(found)


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _below(pid: int) -> list[int]:
    told = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = {int(line.split()[0]): int(line.split()[1]) for line in told.splitlines()}
    found, seen = [], [pid]
    while seen:
        seen = [each for each, parent in parents.items() if parent in seen]
        found += seen
    return found

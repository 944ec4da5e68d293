"""Schedules at the command line."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from app.errors import Fault
from app.notifications.ledger.views import MailView
from app.notifications.recurring.views import (
    DryRun,
    DueView,
    ScheduleDetail,
    ScheduleView,
    Skipped,
    TickView,
    Triggered,
    WouldGet,
)
from app.pages import Page

AT = datetime(2027, 3, 1, 12, tzinfo=UTC)
TICK = TickView(AT, "fired", None, "client:jobs", AT, AT, 1200, 3, None)


def view(**changes: Any) -> ScheduleView:
    values: dict[str, Any] = {
        "name": "mine", "cron": "0 9 * * *", "zone": "Europe/Madrid", "actor": "fire_mails", "query": "launch_reminders",
        "template": "launch-reminder", "locale": "en", "options": {"hours_before": 48}, "catch_up": "fire_once",
        "fixed": False, "edited": False, "enabled": True, "retired_at": None, "next_tick": AT, "last": TICK,
    }  # fmt: skip
    return ScheduleView(**values | changes)


DETAIL = ScheduleDetail(view(), [AT], [TICK])


def test_schedules_are_listed_with_what_their_last_ticks_came_to(typed, system) -> None:
    other = view(
        name="sweep", actor="sweep", query=None, zone="UTC", enabled=False, last=None, next_tick=None
    )
    system.answer("GET", "schedules", [view(), other])
    _, out, _ = typed("schedules")
    assert "launch_reminders" in out
    assert "1,200 mails, 3 skipped" in " ".join(out.split())
    assert "sweep" in out
    _, out, _ = typed("schedules list --mail")
    assert "sweep" not in out


def test_a_schedule_is_shown_with_its_ticks(typed, system) -> None:
    system.answer("GET", "schedules/mine", DETAIL)
    _, out, _ = typed("schedules show mine")
    for each in (
        "0 9 * * *, Europe/Madrid",
        "hours_before",
        "by an operator",
        "client:jobs",
        "1,200 mails, 3 skipped",
    ):
        assert each in " ".join(out.split()), each


def test_a_schedule_is_added_and_changed_with_its_options(typed, system) -> None:
    system.answer("POST", "schedules", DETAIL)
    system.answer("PATCH", "schedules/mine", DETAIL)
    typed(
        "schedules add mine --cron @daily --query launch_reminders --option hours_before=48 --off --reason x"
    )
    typed("schedules change mine --zone Europe/Madrid --catch-up skip --reason y")
    assert [body for _, _, body in system.asked] == [
        {"name": "mine", "cron": "@daily", "query": "launch_reminders", "options": {"hours_before": 48}, "enabled": False, "reason": "x"},
        {"zone": "Europe/Madrid", "catch_up": "skip", "reason": "y"},
    ]  # fmt: skip
    assert typed("schedules change mine --reason y")[0] == 2
    assert typed("schedules add mine --cron @daily --query q --option x --reason y")[0] == 2


@pytest.mark.parametrize("value", ["1e999", "[" * 60_000, "\udcff", "'\"\\ud800\"'"])
def test_an_option_that_cannot_be_sent_is_told(typed, system, value: str) -> None:
    for line in ("add mine --cron @daily --query q", "change mine"):
        code, _, err = typed(f"schedules {line} --reason y --option hours_before={value}")
        assert (code, system.asked) == (1, [])
        assert err.startswith("astrocore: --option hours_before=")
        assert "cannot be sent" in err
        assert "hint: " in err


def test_an_option_that_is_no_json_is_a_text(typed, system) -> None:
    system.answer("PATCH", "schedules/mine", DETAIL)
    typed("schedules change mine --reason y --option hours_before=NaN")
    assert system.asked[-1][2]["options"] == {"hours_before": "NaN"}


@pytest.mark.parametrize(
    "line",
    [
        "show {}", "add {} --cron @daily --query q --reason x", "change {} --zone UTC --reason x", "reset {} --reason x",
        "enable {} --reason x", "disable {} --reason x", "remove {} --reason x --yes", "trigger {}", "dry-run {}",
    ],
)  # fmt: skip
def test_no_schedule_is_named_as_what_is_due(typed, system, line: str) -> None:
    told = "astrocore: no schedule is named due\n  hint: `astrocore schedules due` lists what comes due\n"
    assert typed(f"schedules {line.format('due')}") == (1, "", told)
    assert system.asked == []


def test_a_key_that_is_empty_does_not_fire(typed, system) -> None:
    system.answer("POST", "schedules/mine/trigger", Triggered("mine", AT))
    code, _, err = typed("schedules trigger mine --key ''")
    assert (code, system.asked) == (1, [])
    assert "is no key" in err


def test_a_schedule_is_switched_fired_and_removed(typed, system) -> None:
    system.answer("POST", "schedules/mine/disable", DETAIL)
    system.answer("POST", "schedules/mine/reset", DETAIL)
    assert typed("schedules reset mine --reason x")[0] == 0
    system.answer("POST", "schedules/mine/trigger", Triggered("mine", AT))
    system.answer("DELETE", "schedules/mine", None, status=204)
    assert typed("schedules disable mine --reason x")[0] == 0
    code, out, err = typed("schedules trigger mine --key k")
    assert (code, out) == (0, "fired for 2027-03-01 12:00:00 UTC\n")
    assert "schedules show mine" in err
    assert typed("schedules remove mine --reason x")[0] == 1
    assert typed("schedules remove mine --reason x --yes")[1] == "removed\n"


def test_a_question_cannot_command_the_terminal(typed, system) -> None:
    code, out, err = typed("schedules remove \x1b[2J --reason x")
    assert (code, system.asked) == (1, [])
    assert r"Remove the schedule \x1b[2J?" in out + err
    assert "\x1b" not in out + err


def test_a_dry_run_says_who_would_get_what_and_who_cannot(typed, system) -> None:
    somebody, nobody = UUID(int=1), UUID(int=2)
    found = DryRun(
        schedule="mine",
        tick=AT,
        template="launch-reminder",
        version=1,
        recipients=[
            WouldGet("customer", somebody, "ada@example.com", AT, "7", "the address is blocked: complaint")
        ],
        skipped=[Skipped("customer", nobody, Fault("email", "is no e-mail address"))],
        retries=[],
        complete=False,
        mail=MailView("en", "Soon", "Hello Ada", "<p>"),
    )
    system.answer("POST", "schedules/mine/dry-run", found)
    _, out, err = typed("schedules dry-run mine --limit 5")
    told = " ".join(out.split())
    for each in (
        "ada@example.com",
        "complaint",
        f"cannot be written to: customer {nobody}",
        "Hello Ada",
    ):
        assert each in told, each
    assert "there are more" in err
    assert system.asked[-1][2] == {"limit": 5}
    assert json.loads(typed("schedules dry-run mine --json")[1])["complete"] is False


def test_what_is_due_is_listed(typed, system) -> None:
    system.answer(
        "GET", "schedules/due", Page([DueView(AT, "mine", "launch_reminders", "launch-reminder")], "next")
    )
    _, out, err = typed("schedules due --days 3")
    assert "2027-03-01 12:00:00" in out
    assert "--cursor next" in err

"""Mails at the command line."""

import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from app.cli.errors import CommandError
from app.cli.notify import read_data
from app.cli.story import why
from app.notifications.ledger.states import State
from app.notifications.ledger.views import (
    AttemptView,
    Body,
    CallbackView,
    CircuitView,
    NotificationView,
    Placed,
    RetriesView,
    StoryView,
    TransitionView,
)
from app.notifications.templates.content import Kind
from app.notifications.templates.views import TemplateDetail, TemplateView, VersionDetail

MAIL, OTHER = UUID(int=1), UUID(int=2)
AT = datetime(2027, 3, 1, 12, tzinfo=UTC)


def view(**changes: Any) -> NotificationView:
    values: dict[str, Any] = {
        "id": MAIL,
        "batch": OTHER,
        "template": "new-launch",
        "template_version": 2,
        "kind": "alert",
        "locale": "en",
        "recipient_kind": "address",
        "recipient_id": None,
        "email": "ada@example.com",
        "priority": 3,
        "state": State.SENT,
        "because": None,
        "transport": "smtp",
        "send_at": AT,
        "not_after": None,
        "next_at": None,
        "attempts": 1,
        "schedule": None,
        "tick": None,
        "retry_of": None,
        "version": 3,
        "created_at": AT,
        "updated_at": AT,
    }
    return NotificationView(**values | changes)


CIRCUIT = CircuitView("smtp", "open", 5, 1, "421 closing", AT, AT)


def attempt(**changes: Any) -> AttemptView:
    values: dict[str, Any] = {
        "number": 1, "transport": "smtp", "started_at": AT, "handed_at": None, "ended_at": AT, "outcome": "retry",
        "code": "451", "detail": "try later", "retry_at": AT + timedelta(minutes=1),
    }  # fmt: skip
    return AttemptView(**values | changes)


def story(changed: NotificationView | None = None, **changes: Any) -> StoryView:
    values: dict[str, Any] = {
        "notification": changed or view(),
        "caused_by": "client:shop",
        "metadata": {"saga": "42"},
        "data": {},
        "transitions": [TransitionView(AT, State.PENDING, None, "client:shop")],
        "attempts": [],
        "callbacks": [],
        "suppressed_by": None,
        "retried_as": None,
        "body": Body("A launch", "Hello\u00a0Ada\n", "<p>Hello</p>"),
        "body_erased_at": None,
    }
    return StoryView(**values | changes)


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        (story(), "It went: the provider has taken it (smtp)."),
        (story(view(state=State.DELIVERED)), "It has arrived, as the provider says."),
        (story(view(state=State.FAILED, because="550 no such user")), "It did not go: 550 no such user."),
        (
            story(
                view(state=State.FAILED, because="full"),
                transitions=[TransitionView(AT, State.SENT, None, "core")],
            ),
            "It came back: full.",
        ),
        (story(view(state=State.EXPIRED, because="too late")), "It did not go: too late."),
        (story(view(state=State.CANCELLED)), "It did not go: nobody has said why."),
        (
            story(view(state=State.UNKNOWN, because="no answer")),
            "It may have gone: no answer. `astrocore notifications resolve` says whether it has.",
        ),
        (
            story(view(state=State.SCHEDULED)),
            "It has not gone yet: it waits for 2027-03-01 12:00:00 UTC.",
        ),
        (
            story(view(state=State.PENDING), suppressed_by="complaint"),
            "It is about to go. But its address is blocked: complaint.",
        ),
        (
            story(view(state=State.SCHEDULED), disabled_because="a wrong price"),
            "It has not gone yet: it waits for 2027-03-01 12:00:00 UTC. But its template is disabled: a wrong price.",
        ),
        (
            story(view(state=State.PENDING), circuit=CIRCUIT),
            (
                "It has not gone yet. The way that it goes (smtp) has failed 5 times in a row, the last time with: 421 closing; "
                "it is tried again at 2027-03-01 12:00:00 UTC."
            ),
        ),
        (
            story(
                view(state=State.SENDING, next_at=AT),
                attempts=[attempt()],
                circuit=replace(CIRCUIT, state="trial", because=None),
            ),
            (
                "It has not gone yet: retry: 451 try later. It is tried again at 2027-03-01 12:00:00 UTC. "
                "The way that it goes (smtp) has failed 5 times in a row; one mail tries it now."
            ),
        ),
        (story(view(state=State.SENDING), attempts=[attempt(ended_at=None)]), "It is being handed over."),
        (
            story(view(state=State.SENDING, next_at=AT), attempts=[attempt()]),
            "It has not gone yet: retry: 451 try later. It is tried again at 2027-03-01 12:00:00 UTC.",
        ),
    ],
)
def test_why_a_mail_went_or_not_is_said_in_a_sentence(told: StoryView, sentence: str) -> None:
    assert why(told) == sentence


def test_a_mail_is_shown_with_all_that_happened_in_the_order_of_time(typed, system) -> None:
    late = AT + timedelta(seconds=9)
    system.answer(
        "GET",
        f"notifications/{MAIL}",
        story(
            attempts=[attempt(), attempt(number=2, started_at=late, handed_at=late, ended_at=late, outcome="accepted",
                                         code=None, detail=None, retry_at=None)],
            transitions=[
                TransitionView(AT, State.PENDING, None, "client:shop"),
                TransitionView(AT, State.SENDING, None, "core"),
                TransitionView(late, State.SENT, None, "core"),
            ],
            callbacks=[CallbackView("deferred", AT, late, "greylisted")],
            retried_as=OTHER, provider_id="em_1",
        ),
    )  # fmt: skip
    code, out, _ = typed(f"notifications show {MAIL}")
    assert code == 0
    places = [out.index(each) for each in (
        "It went", "asked by", "saga (yours)", "em_1", "retried as", "pending", "sending", "by smtp", "451 try later; again at",
        "handed over", "accepted", "by core\n" if "by core\n" in out else "sent   ", "told: deferred", "subject", "Hello Ada",
    )]  # fmt: skip
    assert places[:11] == sorted(places[:11])
    assert places[-1] == max(places)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (story(body=None), "not written yet"),
        (story(view(kind="security"), body=None), "not shown"),
        (story(body=None, body_erased_at=AT), "erased at 2027-03-01"),
    ],
)
def test_a_mail_that_is_not_shown_says_why(typed, system, told: StoryView, said: str) -> None:
    system.answer("GET", f"notifications/{MAIL}", told)
    assert said in typed(f"notifications show {MAIL}")[1]


def test_a_mail_is_asked_for_once_under_a_key(typed, system) -> None:
    system.answer("POST", "notifications", Placed(OTHER, [MAIL]), status=202)
    words = "notify new-launch --to ada@example.com --data a.b=1 --at 2027-03-28T12:00:00[Europe/Madrid] --priority 1"
    code, out, err = typed(words)
    assert code == 0
    assert str(MAIL) in out
    assert f"notifications show {MAIL}" in err
    ((_, path, body),) = system.asked
    assert (path, body) == (
        "notifications",
        {
            "template": "new-launch",
            "recipients": [{"email": "ada@example.com"}],
            "data": {"a": {"b": 1}},
            "send_at": "2027-03-28T12:00:00[Europe/Madrid]",
            "priority": 1,
        },
    )
    assert typed("notify new-launch")[0] == 2
    assert typed(f"notify new-launch --to a@example.com --customer {MAIL}")[0] == 2


def test_a_mail_is_filled_with_the_sample_of_its_template_on_demand(typed, system) -> None:
    template = TemplateView("new-launch", Kind.ALERT, "tells", True, None, 1, ["en"], 1, AT)
    content = VersionDetail(1, True, "core", AT, {}, {}, {"a": {"b": 1, "c": 2}, "d": 3})
    system.answer("GET", "notification-templates/new-launch", TemplateDetail(template, content, []))
    system.answer("POST", "notifications", Placed(OTHER, [MAIL]), status=202)
    assert typed("notify new-launch --sample --to ada@example.com --data a.b=7")[0] == 0
    assert system.asked[-1][2]["data"] == {"a": {"b": 7, "c": 2}, "d": 3}


def test_data_are_read_from_files_and_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "data"
    file.write_text(json.dumps({"a": {"b": 1}, "c": "x"}))
    assert read_data([str(file), "a.b=2", "d=true", 'e="3"', "f=x=y"]) == {
        "a": {"b": 2}, "c": "x", "d": True, "e": "3", "f": "x=y",
    }  # fmt: skip
    monkeypatch.setattr("sys.stdin", io.StringIO('{"z": 1}'))
    assert read_data(["-"]) == {"z": 1}
    file.write_text("[]")
    for wrong in ([str(file)], ["nowhere.json"], ["a=1", "a.b=2"]):
        with pytest.raises(CommandError):
            read_data(wrong)


def test_many_are_sent_again_after_a_question(typed, system, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("app.cli.options.typer.confirm", lambda text, **_: not asked.append(text))
    found = RetriesView([MAIL, OTHER], {}, {})
    system.answer(
        "POST",
        "notifications/retry",
        found,
        RetriesView([MAIL, OTHER], {MAIL: OTHER}, {OTHER: "its time is over"}),
    )
    code, out, _ = typed("notifications retry --template new-launch --reason mended")
    assert (code, asked) == (0, ["Send 2 mails again?"])
    assert "found 2, sent again 1" in out
    assert "its time is over" in out
    assert [body.get("dry_run", False) for _, _, body in system.asked] == [True, False]
    assert "which mails?" in typed("notifications retry --reason x")[2]
    assert "which mails?" in typed(f"notifications retry {MAIL} --template x --reason x")[2]


def test_a_dry_run_of_one_mail_sends_nothing(typed, system) -> None:
    system.answer("POST", f"notifications/{MAIL}/retry", view())
    code, out, err = typed(f"notifications retry {MAIL} --reason x --dry-run")
    assert (code, out, system.asked) == (1, "", [])
    assert "--dry-run only tells how many" in err
    assert f"hint: `astrocore notifications show {MAIL}`" in err


@pytest.mark.parametrize("other", ["transports", "batches", "''"])
def test_what_lies_beside_the_mails_is_none_of_them(typed, system, other: str) -> None:
    code, _, err = typed(f"notifications show {other}")
    assert (code, system.asked) == (2, [])
    assert "hint: " in err


@pytest.mark.parametrize("key", ["é", "''", "' a'", "a\0", "\udcff"])
def test_a_key_that_is_none_is_told_and_nothing_sent(typed, system, key: str) -> None:
    system.answer("POST", "notifications", Placed(OTHER, [MAIL]), status=202)
    code, _, err = typed(f"notify new-launch --to ada@example.com --key {key}")
    assert (code, system.asked) == (1, [])
    assert "is no key\n  hint: one is of visible ASCII characters" in err


def test_mails_are_decided_about_one_by_one(typed, system) -> None:
    for verb in ("cancel", "retry", "resolve", "reschedule"):
        system.answer("POST", f"notifications/{MAIL}/{verb}", view())
    typed(f"notifications cancel {MAIL} --reason x")
    typed(f"notifications retry {MAIL} --reason x")
    typed(f"notifications resolve {MAIL} failed --reason x")
    typed(f"notifications reschedule {MAIL} --at 2027-01-01T00:00:00Z")
    assert [(path.rpartition("/")[2], body) for _, path, body in system.asked] == [
        ("cancel", {"reason": "x"}),
        ("retry", {"reason": "x"}),
        ("resolve", {"state": "failed", "reason": "x"}),
        ("reschedule", {"send_at": "2027-01-01T00:00:00Z"}),
    ]


def test_what_a_mail_says_cannot_command_the_terminal(typed, system) -> None:
    evil = "\x1b[2J"
    system.answer("GET", f"notifications/{MAIL}", story(view(email=evil, because=evil), metadata={evil: evil},
        body=Body(evil, evil, evil), transitions=[TransitionView(AT, State.FAILED, evil, evil)]))  # fmt: skip
    assert "\x1b" not in typed(f"notifications show {MAIL}")[1]

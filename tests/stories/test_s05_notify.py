"""S5: an API consumer has mail sent, and anybody who may can tell why it went or did not."""

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from app.clock import now
from app.embedded.mailbox import Mailbox, Message
from tests.stories.conftest import System, wait_for
from tests.web.notifications.orders import ALL, BOOKING, LAUNCH, order


@pytest.fixture
def email() -> str:
    return f"ada-{uuid4().hex[:8]}@example.com"


def placed(system: System, wanted: dict[str, Any], key: str | None = None) -> httpx.Response:
    return system.api.post(ALL, json=wanted, headers={"Idempotency-Key": key or str(uuid4())})


def sent(system: System, email: str, **changes: Any) -> str:
    answer = placed(system, order(recipients=[{"email": email}], **changes))
    assert answer.status_code == 202, answer.text
    return str(answer.json()["notifications"][0])


def ended(system: System, mail: str) -> dict[str, Any]:
    """The story of a mail, once it is neither waiting nor on its way."""
    story: dict[str, Any] = wait_for(
        lambda: system.api.get(f"{ALL}/{mail}").json(),
        lambda story: story["notification"]["state"] not in {"pending", "sending"},
    )
    return story


def received(system: System, email: str) -> list[Message]:
    mailbox = Mailbox.below(system.data_dir)
    found = [each.id for each in mailbox.latest(100) if email in each.to]
    return [message for each in found if (message := mailbox.message(each))]


def test_a_mail_arrives_once_and_tells_its_story(system: System, email: str) -> None:
    wanted = order(recipients=[{"email": email, "locale": "es"}], metadata={"booking": "AB-7K2Q9"})
    first, again = [placed(system, wanted, "booking-AB-7K2Q9-" + email) for _ in range(2)]
    assert (first.status_code, again.headers["idempotency-replayed"]) == (202, "true")
    assert again.json() == first.json()

    story = ended(system, first.json()["notifications"][0])
    assert story["notification"]["state"] == "sent"
    (message,) = received(system, email)
    headers = dict(message.headers)
    assert headers["Message-ID"].startswith(f"<{story['notification']['id']}@")
    assert message.received.subject == story["body"]["subject"]
    assert "AB-7K2Q9" in (message.text or "")
    assert 'lang="es"' in (message.html or "")
    assert "List-Unsubscribe" not in headers
    assert [each["state"] for each in story["transitions"]] == ["pending", "sending", "sent"]
    (attempt,) = story["attempts"]
    assert (attempt["transport"], attempt["outcome"]) == ("smtp", "accepted")

    told = system.cli("notifications", "show", story["notification"]["id"])
    assert "It went: the provider has taken it (smtp)." in told
    assert "AB-7K2Q9" in told


def test_an_order_that_is_wrong_sends_nothing_to_anybody(system: System, email: str) -> None:
    data = BOOKING | {"booking": {"reference": "AB-1"}}
    answer = placed(system, order(recipients=[{"email": email}, {"email": f"other-{email}", "data": data}]))
    assert answer.status_code == 422
    assert [each["where"] for each in answer.json()["errors"]] == ["recipients/1/data/booking/seats"]
    assert system.api.get(ALL, params={"email": email}).json()["items"] == []


def test_a_mail_is_sent_on_the_command_line(system: System, email: str, tmp_path: Path) -> None:
    data = tmp_path / "data.json"
    data.write_text(json.dumps(BOOKING))
    words = [
        "notify",
        "booking-confirmation",
        "--to",
        email,
        "--data",
        str(data),
        "--data",
        "booking.seats=3",
    ]
    assert "AB-7K2Q9" in system.cli(*words, "--dry-run")
    assert system.cli_json("notifications", "list", "--to", email)["items"] == []
    made = system.cli_json(*words)
    ended(system, made["notifications"][0])
    (message,) = received(system, email)
    assert "3 seats" in (message.text or "")
    assert "seats: is missing" in system.cli(
        *words[:4], "--data", str(data), "--data", 'booking={"reference":"x"}', expect=1
    )


def test_a_scheduled_mail_waits_and_is_taken_back(system: System, email: str) -> None:
    soon = (now() + timedelta(days=1)).isoformat()
    mail = sent(system, email, send_at=soon)
    story = ended(system, mail)
    assert (story["notification"]["state"], story["attempts"]) == ("scheduled", [])
    system.cli("notifications", "cancel", mail, "--reason", "booked twice")
    assert "It did not go: booked twice." in system.cli("notifications", "show", mail)
    moved = sent(system, email, send_at=soon)
    system.cli("notifications", "reschedule", moved, "--at", "2020-01-01T00:00:00Z")
    assert ended(system, moved)["notification"]["state"] == "sent"
    assert len(received(system, email)) == 1


def test_an_address_that_wants_no_more_by_one_click_gets_no_more(system: System, email: str) -> None:
    ended(system, sent(system, email, template="new-launch", data=LAUNCH))
    (message,) = received(system, email)
    headers = dict(message.headers)
    assert headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    link = re.fullmatch(r"<(http\S+)>", headers["List-Unsubscribe"])
    assert link
    with httpx.Client(trust_env=False) as anybody:
        page = anybody.get(link[1])
        assert "Unsubscribe from news of launches?" in page.text
        assert anybody.post(link[1], data={"List-Unsubscribe": "One-Click"}).status_code == 200
    blocked = ended(system, sent(system, email, template="new-launch", data=LAUNCH))
    assert blocked["notification"]["state"] == "suppressed"
    told = system.cli("notifications", "show", blocked["notification"]["id"])
    assert "It did not go: the address is blocked: unsubscribe." in told
    # What is about a booking of theirs comes all the same.
    assert ended(system, sent(system, email))["notification"]["state"] == "sent"

    (row,) = system.cli_json("suppressions", "list", "--email", email)["items"]
    assert (row["scope"], row["reason"]) == ("alert", "unsubscribe")
    system.cli("suppressions", "remove", email, "--kind", "alert", "--reason", "asked for it")
    assert (
        ended(system, sent(system, email, template="new-launch", data=LAUNCH))["notification"]["state"]
        == "sent"
    )


def test_a_template_that_is_stopped_sends_nothing(system: System, email: str) -> None:
    system.cli("templates", "disable", "launch-update", "--reason", "wrong date", "--yes")
    sample = system.api.get("/v1/notification-templates/launch-update").json()["content"]["sample"]
    answer = placed(system, order(template="launch-update", data=sample, recipients=[{"email": email}]))
    assert answer.status_code == 409
    system.cli("templates", "enable", "launch-update", "--reason", "mended")
    mail = sent(system, email, template="launch-update", data=sample)
    assert ended(system, mail)["notification"]["state"] == "sent"


def test_a_password_is_reset_by_the_mail_that_nobody_else_is_shown(system: System, email: str) -> None:
    user = system.api.post("/v1/users", json={"email": email, "password": "a song about seven small ships"})
    assert user.status_code == 201, user.text
    asked = system.api.post("/v1/auth/password-reset", json={"email": email, "client_ip": "2001:db8:5:5::1"})
    assert asked.status_code == 204
    (mail,) = system.api.get(ALL, params={"email": email}).json()["items"]
    story = ended(system, mail["id"])
    assert (story["notification"]["state"], story["data"], story["body"]) == ("sent", None, None)
    (message,) = received(system, email)
    token = re.search(r"token=(acl_\S+)", message.text or "")
    assert token
    reset = {"token": token[1], "password": "another long enough secret"}
    assert system.api.post("/v1/auth/password-reset/confirm", json=reset).status_code == 204
    told, _ = wait_for(lambda: received(system, email), lambda found: len(found) == 2)
    assert told.received.subject == "AstroBookings: A new password was set"

"""`astrocore mailbox`, on a folder of real messages."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.embedded.mailbox import Mailbox
from app.notifications.delivering.transports.composing import compose
from tests.app.notifications.delivering.transports.mail_servers import MAIL

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def ids() -> list[str]:
    folder = Path(".astrocore/mailbox")
    folder.mkdir(parents=True)
    content = b"Delivered-To: ada@example.org\r\n" + compose(MAIL).content.replace(b"\r\n..", b"\r\n.")
    return [Mailbox(folder).keep(content, AT + timedelta(minutes=minute)) for minute in range(3)]


def test_messages_are_listed_the_newest_first(typed, ids: list[str]):
    code, out, _ = typed("mailbox")
    assert code == 0
    assert out.index(ids[2]) < out.index(ids[0])
    assert "ada@example.org" in out
    listed = json.loads(typed("mailbox list --limit 2 --json")[1])
    assert [each["id"] for each in listed] == [ids[2], ids[1]]
    assert listed[0]["subject"] == MAIL.subject


def test_the_newest_message_is_shown_unless_another_is_asked_for(typed, ids: list[str]):
    code, out, _ = typed("mailbox show")
    assert code == 0
    assert "see you on Mars. Ñandú." in out
    assert MAIL.message_id in out
    assert json.loads(typed(f"mailbox show {ids[0]} --json")[1])["received"]["id"] == ids[0]
    assert typed("mailbox show --html")[1].strip() == (MAIL.html or "").strip()


def test_what_a_terminal_would_act_on_is_escaped(typed, ids: list[str]):
    content = b"Delivered-To: a@b.example\r\nSubject: x\r\n\r\n\x1b[2Jgone\r\n"
    Mailbox(Path(".astrocore/mailbox")).keep(content, AT + timedelta(hours=1))
    _, out, _ = typed("mailbox show")
    assert "\x1b" not in out
    assert "\\x1b[2Jgone" in out


def test_clearing_asks_first(typed, ids: list[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("typer.confirm", lambda *_, **__: False)
    assert typed("mailbox clear")[0] == 1
    assert len(json.loads(typed("mailbox --json")[1])) == 3
    assert json.loads(typed("mailbox clear --yes --json")[1]) == {"deleted": 3}
    assert json.loads(typed("mailbox --json")[1]) == []
    code, _, err = typed("mailbox show")
    assert code == 1
    assert "the mailbox is empty" in err


def test_a_message_that_is_not_there_is_told(typed, ids: list[str]):
    code, _, err = typed("mailbox show 20200101T000000000000-00000000")
    assert code == 1
    assert "no message 20200101T000000000000-00000000" in err


def test_where_mail_goes_elsewhere_there_is_no_mailbox(typed):
    code, out, err = typed("mailbox")
    assert (code, out) == (1, "")
    assert "ASTROCORE_NOTIFICATION_SMTP_HOST" in err

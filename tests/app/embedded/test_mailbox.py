"""The mailbox of an embedded system: the files, and the server that writes them."""

import asyncio
import signal
import sys
import threading
from datetime import UTC, datetime, timedelta

import pytest

from app.embedded.mailbox import Mailbox
from app.embedded.ports import free_port
from app.notifications.delivering.transports.smtp import SmtpTransport
from app.notifications.delivering.transports.transport import Accepted
from config.settings import parse_settings
from tests.app.notifications.delivering.transports.mail_servers import MAIL
from tests.app.notifications.delivering.transports.test_smtp import Mark

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def mailbox(tmp_path) -> Mailbox:
    return Mailbox(tmp_path)


def message(number: int) -> bytes:
    return f"Delivered-To: ada@example.org\r\nFrom: us\r\nSubject: number {number}\r\n\r\ntext {number}\r\n".encode()


def fill(mailbox: Mailbox, number: int) -> list[str]:
    return [mailbox.keep(message(each), AT + timedelta(seconds=each)) for each in range(number)]


def test_the_newest_messages_come_first(mailbox):
    ids = fill(mailbox, 5)
    latest = mailbox.latest(3)
    assert [each.id for each in latest] == ids[:1:-1]
    assert (latest[0].subject, latest[0].to, latest[0].at) == (
        "number 4",
        ["ada@example.org"],
        AT + timedelta(seconds=4),
    )


def test_only_so_many_are_kept(mailbox, monkeypatch):
    monkeypatch.setattr("app.embedded.mailbox.MOST_MESSAGES", 3)
    ids = fill(mailbox, 5)
    assert [each.id for each in mailbox.latest(10)] == ids[:1:-1]
    assert mailbox.message(ids[0]) is None
    assert len(list(mailbox.folder.iterdir())) == 3


def test_a_message_is_shown_with_all_that_is_in_it(mailbox):
    (kept,) = fill(mailbox, 1)
    shown = mailbox.message(kept)
    assert shown is not None
    assert (shown.text, shown.html) == ("text 0\n", None)
    assert ("Subject", "number 0") in shown.headers


@pytest.mark.parametrize("named", ["../env", "20261123T120000000000-00000000", "", "x.eml"])
def test_nothing_but_a_message_of_the_mailbox_is_shown(mailbox, named):
    (mailbox.folder.parent / "env.eml").write_text("secret")
    assert mailbox.message(named) is None


def test_clearing_leaves_nothing_but_what_is_no_message(mailbox):
    fill(mailbox, 3)
    (mailbox.folder / "notes.txt").touch()
    assert mailbox.clear() == 3
    assert [each.name for each in mailbox.folder.iterdir()] == ["notes.txt"]
    assert mailbox.latest(10) == []


def test_what_a_killed_writer_left_is_no_message_and_is_removed(mailbox):
    (mailbox.folder / "20261123T120000000000-00000000.eml.new").write_text("half")
    assert mailbox.latest(10) == []
    mailbox.tidy()
    assert list(mailbox.folder.iterdir()) == []


def test_a_message_that_could_not_be_written_is_none(mailbox, monkeypatch):
    def is_full(_descriptor):
        raise OSError("no space left on device")

    monkeypatch.setattr("app.embedded.mailbox.os.fsync", is_full)
    with pytest.raises(OSError, match="no space left"):
        fill(mailbox, 1)
    assert mailbox.latest(10) == []


def test_messages_that_come_at_once_are_all_kept_while_somebody_reads(mailbox, monkeypatch):
    monkeypatch.setattr("app.embedded.mailbox.MOST_MESSAGES", 20)
    writers = [threading.Thread(target=fill, args=(mailbox, 25)) for _ in range(4)]
    for each in writers:
        each.start()
    while any(each.is_alive() for each in writers):
        assert all(each.subject for each in mailbox.latest(50))
    assert len(mailbox.latest(50)) == 20


async def test_the_server_keeps_what_it_is_given_and_stops_when_it_is_told(tmp_path):
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app.embedded.mailbox_server", str(port), str(tmp_path)
    )
    try:
        settings = parse_settings(
            {
                "ASTROCORE_NOTIFICATION_SMTP_HOST": "127.0.0.1",
                "ASTROCORE_NOTIFICATION_SMTP_PORT": str(port),
                "ASTROCORE_NOTIFICATION_SMTP_TLS": "none",
            }
        )
        transport = SmtpTransport(settings)
        async with asyncio.timeout(20):
            while not isinstance(  # noqa: ASYNC110  (nobody tells when it listens)
                handed := await transport.hand_over(transport.compose(MAIL), about_to=Mark()), Accepted
            ):
                await asyncio.sleep(0.05)
        await transport.close()
    finally:
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 10) == 0
    (received,) = Mailbox(tmp_path).latest(10)
    assert handed.detail == f"2.0.0 OK: kept as {received.id}"
    assert (received.sender, received.to, received.subject) == (MAIL.sender, [MAIL.to], MAIL.subject)
    shown = Mailbox(tmp_path).message(received.id)
    assert shown is not None
    assert (shown.text, shown.html) == (MAIL.text, MAIL.html)


@pytest.mark.parametrize(
    "odd",
    [
        b"From: <@\r\nDelivered-To: \xff\r\nSubject: =?utf-8?b?////?=\r\n\r\nhi\r\n",
        b'From: "\r\nMessage-ID: <\r\nDate: x\r\n\r\nhi',
        b"From: =?utf-8?q?a=0d=0aX?= <a@b>\r\n\r\nhi",
        b"Message-ID: []\r\nTo: :;\r\nCc: [\r\nSender: a b c\r\n\r\nhi",
        b"Content-Type: text/plain; charset=nonsense\r\n\r\nhi",
        b"MIME-Version: (\r\nContent-Disposition: ;\r\nContent-Type: ;\r\nContent-Transfer-Encoding: \r\n\r\nhi",
    ],
)
def test_a_message_without_a_form_hides_no_other(mailbox, odd: bytes):
    fill(mailbox, 1)
    kept = mailbox.keep(odd, AT + timedelta(seconds=1))
    assert [each.subject for each in mailbox.latest(2)][1] == "number 0"
    shown = mailbox.message(kept)
    assert shown is not None
    assert not any("\n" in value for _, value in shown.headers)


def test_headers_are_shown_as_they_read(mailbox):
    kept = mailbox.keep(
        b"From: =?utf-8?q?=C3=84?= <a@b>\r\nSubject: =?utf-8?q?=C3=A9?=\r\n =?utf-8?q?t?= is\r\n on\r\n\r\nx",
        AT,
    )
    shown = mailbox.message(kept)
    assert shown is not None
    assert (shown.received.sender, shown.received.subject) == ("Ä <a@b>", "ét is on")

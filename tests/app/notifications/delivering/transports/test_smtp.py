"""Mail by SMTP, against servers that behave well and badly."""

import asyncio

import pytest
from msgspec.structs import replace

from app.notifications.delivering.transports.smtp import SmtpTransport
from app.notifications.delivering.transports.transport import (
    Accepted,
    Handed,
    Mail,
    Refused,
    Retry,
    Unknown,
)
from tests.app.notifications.delivering.transports.mail_servers import MAIL, Server, Session, running


class Mark:
    """What a sender writes down at the last moment."""

    def __init__(self, *, raising: Exception | None = None, seconds: float = 0.0) -> None:
        self.times = 0
        self._raising = raising
        self._seconds = seconds

    async def __call__(self) -> None:
        self.times += 1
        await asyncio.sleep(self._seconds)
        if self._raising:
            raise self._raising


async def hand_over(server: Server, mail: Mail = MAIL, mark: Mark | None = None, **settings: str) -> Handed:
    transport = SmtpTransport(server.settings(**settings))
    try:
        return await transport.hand_over(transport.compose(mail), about_to=mark or Mark())
    finally:
        await transport.close()


async def test_a_mail_arrives_as_it_was_written():
    async with running() as server:
        unsubscribe = {"List-Unsubscribe": f"<https://a.example/{'u' * 200}>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}  # fmt: skip
        mark = Mark()
        handed = await hand_over(server, replace(MAIL, headers=unsubscribe), mark)
    assert handed == Accepted(detail="2.0.0 ok: queued as 4711")
    assert mark.times == 1
    (envelope,) = server.taken
    assert (envelope.mail_from, envelope.rcpt_tos) == ("no-reply@astrobookings.example", ["ada@example.org"])
    message = server.message
    assert (message["Subject"], message["Message-ID"]) == (MAIL.subject, MAIL.message_id)
    assert (str(message["From"]), str(message["To"])) == (MAIL.sender, MAIL.to)
    assert {name: message[name] for name in unsubscribe} == unsubscribe
    assert message["Date"].datetime == MAIL.date
    assert message["Auto-Submitted"] == "auto-generated"
    assert message.get_content_type() == "multipart/alternative"
    assert [each.get_content_type() for each in message.iter_parts()] == ["text/plain", "text/html"]
    text, html = (each.get_content().replace("\r\n", "\n") for each in message.iter_parts())
    assert (text, html) == (MAIL.text, MAIL.html)


async def test_mails_share_a_connection_and_each_begins_anew():
    async with running() as server:
        transport = SmtpTransport(server.settings())
        for _ in range(4):
            assert isinstance(await transport.hand_over(transport.compose(MAIL), about_to=Mark()), Accepted)
        server.rcpt = "550 5.1.1 nobody"
        assert isinstance(await transport.hand_over(transport.compose(MAIL), about_to=Mark()), Refused)
        server.rcpt = "250 ok"
        assert isinstance(await transport.hand_over(transport.compose(MAIL), about_to=Mark()), Accepted)
        await transport.close()
    assert len(server.sessions) == 1
    assert server.said.count("RSET") == 5
    assert server.said[-1] == "QUIT"
    assert len(server.taken) == 5


async def test_no_more_connections_are_open_than_the_settings_say():
    async with running(Server(dot_seconds=0.02)) as server:
        transport = SmtpTransport(server.settings(connections="3"))
        handed = await asyncio.gather(
            *(transport.hand_over(transport.compose(MAIL), about_to=Mark()) for _ in range(15))
        )
        await transport.close()
    assert all(isinstance(each, Accepted) for each in handed)
    assert server.most_open == len(server.sessions) == 3


async def test_a_connection_that_was_dropped_meanwhile_is_replaced():
    async with running() as server:
        transport = SmtpTransport(server.settings())
        await transport.hand_over(transport.compose(MAIL), about_to=Mark())
        server.sessions[0].drop()
        assert isinstance(await transport.hand_over(transport.compose(MAIL), about_to=Mark()), Accepted)
        await transport.close()
    assert len(server.sessions) == 2


async def test_a_connection_is_left_after_so_many_mails(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("app.notifications.delivering.transports.smtp_pool.MOST_MAILS", 2)
    async with running() as server:
        transport = SmtpTransport(server.settings())
        for _ in range(4):
            await transport.hand_over(transport.compose(MAIL), about_to=Mark())
        await transport.close()
    assert len(server.sessions) == 2
    assert server.said.count("QUIT") == 2


async def test_a_connection_that_nobody_needs_is_left(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("app.notifications.delivering.transports.smtp_pool.IDLE_SECONDS", 0.05)
    async with running() as server:
        transport = SmtpTransport(server.settings())
        await transport.hand_over(transport.compose(MAIL), about_to=Mark())
        async with asyncio.timeout(5):
            while "QUIT" not in server.said:  # noqa: ASYNC110  (the server says nothing of it)
                await asyncio.sleep(0.01)
        await transport.close()


@pytest.mark.parametrize(
    ("answer", "handed"),
    [
        ("550 5.1.1 <ada@example.org>: no such user", Refused("550", "5.1.1 <[address]>: no such user", hard_bounce=True)),
        ("550 no such user", Refused("550", "no such user", hard_bounce=True)),
        ("553 no name", Refused("553", "no name", hard_bounce=True)),
        ("556 5.1.10 takes no mail", Refused("556", "5.1.10 takes no mail", hard_bounce=True)),
        ("550 5.2.1 disabled", Refused("550", "5.2.1 disabled", hard_bounce=True)),
        ("552 5.2.2 full", Refused("552", "5.2.2 full")),
        ("550 5.7.1 not wanted", Refused("550", "5.7.1 not wanted")),
        ("550 5.1.8 bad sender", Refused("550", "5.1.8 bad sender")),
        ("554 no", Refused("554", "no")),
        ("450 4.2.1 busy", Retry("450", "4.2.1 busy", of_service=False)),
        ("450 busy", Retry("450", "busy", of_service=False)),
        ("451 4.7.1 greylisted", Retry("451", "4.7.1 greylisted", of_service=False)),
        ("451 4.3.0 out of order", Retry("451", "4.3.0 out of order")),
        ("421 4.2.1 closing", Retry("421", "4.2.1 closing")),
    ],
)  # fmt: skip
async def test_a_recipient_may_be_turned_down(answer: str, handed: Handed):
    async with running(Server(rcpt=answer)) as server:
        mark = Mark()
        assert await hand_over(server, mark=mark) == handed
    assert (server.taken, mark.times) == ([], 0)


@pytest.mark.parametrize(
    ("answer", "handed"),
    [
        ("554 5.7.1 spam", Refused("554", "5.7.1 spam")),
        ("550 5.1.1 nobody", Refused("550", "5.1.1 nobody", hard_bounce=True)),
        ("550 no", Refused("550", "no")),
        ("552 5.3.4 too big", Refused("552", "5.3.4 too big")),
        ("451 4.7.1 later", Retry("451", "4.7.1 later", of_service=False)),
        ("452 4.3.1 no room", Retry("452", "4.3.1 no room")),
        ("451 local error", Retry("451", "local error")),
        ("354 go on", Unknown("connection", "354 go on")),
        ("nonsense", Unknown("connection", "-1 Malformed SMTP response line: nonsense")),
    ],
)
async def test_a_mail_may_be_turned_down(answer: str, handed: Handed):
    async with running(Server(dot=answer)) as server:
        assert await hand_over(server) == handed
    assert server.taken == []


@pytest.mark.parametrize(
    "answer", ["550 5.7.1 not you", "530 5.7.0 sign in first", "451 4.3.0 later", "421 bye"]
)
async def test_what_is_wrong_with_the_sender_is_not_the_mails_fault(answer: str):
    async with running(Server(mail=answer)) as server:
        mark = Mark()
        handed = await hand_over(server, mark=mark)
    assert handed == Retry(answer[:3], answer[4:])
    assert mark.times == 0


async def refuse_data(session: Session) -> None:
    await session.push("451 4.3.0 not now")


async def drop_at_data(session: Session) -> None:
    session.drop()


async def drop_within_data(session: Session) -> None:
    await session.push("354 go on")
    await session._reader.readline()
    session.drop()


@pytest.mark.parametrize(
    ("behaviour", "code"), [(refuse_data, "451"), (drop_at_data, "connection"), (drop_within_data, "connection")]
)  # fmt: skip
async def test_what_ends_before_the_dot_is_tried_again(behaviour, code: str):
    async with running(Server(data=behaviour)) as server:
        handed = await hand_over(server, mark=Mark(seconds=0.1))
    assert isinstance(handed, Retry)
    assert (handed.code, handed.of_service) == (code, True)


@pytest.mark.parametrize("server", [Server(rcpt=None), Server(mail=None), Server(rcpt_seconds=5)])
async def test_a_server_that_goes_away_or_takes_too_long_before_the_dot_is_tried_again(server: Server):
    mark = Mark()
    async with running(server):
        handed = await hand_over(server, mark=mark, timeout_seconds="0.3")
    assert isinstance(handed, Retry)
    assert mark.times == 0


@pytest.mark.parametrize("server", [Server(dot=None), Server(dot_seconds=5)])
async def test_a_dot_without_an_answer_is_unknown(server: Server):
    mark = Mark()
    async with running(server):
        handed = await hand_over(server, mark=mark, timeout_seconds="0.3")
    assert isinstance(handed, Unknown)
    assert mark.times == 1


async def test_a_connection_without_an_answer_is_not_used_again():
    async with running(Server(dot_seconds=0.5)) as server:
        transport = SmtpTransport(server.settings(timeout_seconds="0.2"))
        assert isinstance(await transport.hand_over(transport.compose(MAIL), about_to=Mark()), Unknown)
        server.dot_seconds = 0
        assert isinstance(await transport.hand_over(transport.compose(MAIL), about_to=Mark()), Accepted)
        await transport.close()
    assert len(server.sessions) == 2


@pytest.mark.parametrize("error", [OSError("disk"), TimeoutError("database"), ValueError("bug")])
async def test_who_cannot_write_it_down_has_not_sent_it(error: Exception):
    async with running() as server:
        transport = SmtpTransport(server.settings())
        with pytest.raises(type(error), match=str(error)):
            await transport.hand_over(transport.compose(MAIL), about_to=Mark(raising=error))
        assert isinstance(await transport.hand_over(transport.compose(MAIL), about_to=Mark()), Accepted)
        await transport.close()
    assert len(server.taken) == 1
    assert len(server.sessions) == 2


async def test_who_is_stopped_has_closed_the_connection_and_made_room():
    async with running(Server(rcpt_seconds=60)) as server:
        transport = SmtpTransport(server.settings(connections="1"))
        task = asyncio.create_task(transport.hand_over(transport.compose(MAIL), about_to=Mark()))
        async with asyncio.timeout(5):
            while "RCPT" not in server.said:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        server.rcpt_seconds = 0
        assert isinstance(await transport.hand_over(transport.compose(MAIL), about_to=Mark()), Accepted)
        await transport.close()


async def test_without_a_server_it_is_tried_again():
    async with running() as server:
        pass
    mark = Mark()
    handed = await hand_over(server, mark=mark)
    assert isinstance(handed, Retry)
    assert (handed.code, handed.of_service, mark.times) == ("connection", True, 0)


async def test_connections_that_could_not_be_had_leave_room_for_others():
    async with running() as server:
        settings = server.settings(connections="1", timeout_seconds="0.5")
    transport = SmtpTransport(settings)
    for _ in range(3):
        handed = await transport.hand_over(transport.compose(MAIL), about_to=Mark())
        assert isinstance(handed, Retry)
        assert handed.code == "connection"
    await transport.close()


async def test_to_wait_for_a_free_connection_is_not_to_wait_for_the_server():
    async with running(Server(dot_seconds=0.2)) as server:
        transport = SmtpTransport(server.settings(connections="1", timeout_seconds="0.4"))
        handed = await asyncio.gather(
            *(transport.hand_over(transport.compose(MAIL), about_to=Mark()) for _ in range(4))
        )
        await transport.close()
    assert all(isinstance(each, Accepted) for each in handed)


async def test_an_international_address_goes_where_it_is_understood():
    mail = replace(MAIL, to="zoë@müller.example")
    async with running() as server:
        assert isinstance(await hand_over(server, mail), Accepted)
    (envelope,) = server.taken
    assert envelope.rcpt_tos == ["zoë@xn--mller-kva.example"]
    assert envelope.smtp_utf8
    assert "zoë@xn--mller-kva.example".encode() in envelope.content


async def test_an_international_address_is_refused_where_it_is_not_understood():
    mark = Mark()
    async with running(enable_SMTPUTF8=False) as server:
        handed = await hand_over(server, replace(MAIL, to="zoë@example.org"), mark)
        assert isinstance(await hand_over(server, replace(MAIL, to="zoe@müller.example")), Accepted)
    assert handed == Refused("smtputf8", "the mail server takes no address with more than ASCII before its @")
    assert mark.times == 0

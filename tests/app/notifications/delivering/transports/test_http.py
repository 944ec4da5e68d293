"""Mail by HTTP, to receivers that behave well and badly."""

import asyncio
from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from app.notifications.delivering.transports.http import MOST_BYTES, HttpTransport, seconds_of
from app.notifications.delivering.transports.transport import Accepted, Handed, Mail, Refused, Retry, Unknown
from tests.app.notifications.delivering.transports.http_receiver import Receiver, receiving
from tests.app.notifications.delivering.transports.mail_servers import MAIL
from tests.app.notifications.delivering.transports.test_smtp import Mark

FORGETFUL = {"http_dedupes": "false"}


async def hand_over(
    receiver: Receiver, mail: Mail = MAIL, mark: Mark | None = None, **settings: str
) -> Handed:
    transport = HttpTransport(receiver.settings(**settings))
    try:
        return await transport.hand_over(transport.compose(mail), about_to=mark or Mark())
    finally:
        await transport.close()


async def test_a_mail_is_posted_as_the_contract_says():
    mail = replace(MAIL, key="the-key", headers={"List-Unsubscribe": "<https://a.example/u>"}, priority=1)
    async with receiving(Receiver(body=b'{"id": "em_1", "detail": "queued"}')) as receiver:
        mark = Mark()
        handed = await hand_over(receiver, mail, mark)
    assert handed == Accepted(provider_id="em_1", detail="queued")
    assert mark.times == 1
    (asked,), (body,) = receiver.asked, receiver.bodies
    assert asked["request"] == "POST /send HTTP/1.1"
    assert asked["authorization"] == "Bearer a-token-of-the-provider"
    assert asked["idempotency-key"] == '"the-key"'
    assert asked["content-type"] == "application/json"
    assert body == {
        "id": mail.id,
        "from": mail.sender,
        "to": mail.to,
        "subject": mail.subject,
        "text": mail.text,
        "html": mail.html,
        "headers": {
            "Message-ID": mail.message_id,
            "Date": "Mon, 23 Nov 2026 12:00:00 +0000",
            "Auto-Submitted": "auto-generated",
            "List-Unsubscribe": "<https://a.example/u>",
        },
        "priority": 1,
    }


@pytest.mark.parametrize("status", [200, 201, 202, 204])
async def test_any_success_is_one_whatever_it_says(status: int):
    async with receiving(Receiver(status=status, body=b"" if status == 204 else b"<p>fine</p>")) as receiver:
        assert isinstance(await hand_over(receiver), Accepted)


@pytest.mark.parametrize("dedupes", ["true", "false"])
@pytest.mark.parametrize(
    ("status", "of_service"),
    [(401, True), (403, True), (404, True), (405, True), (307, True), (408, True), (409, False), (425, True), (429, True), (503, True)],
)  # fmt: skip
async def test_what_is_not_the_mails_fault_is_tried_again(status: int, of_service: bool, dedupes: str):
    async with receiving(
        Receiver(status=status, headers={"Retry-After": "7"}, body=b'{"detail": "not now"}')
    ) as receiver:
        handed = await hand_over(receiver, http_dedupes=dedupes)
    doubtful = status == 409 and dedupes == "true"
    assert handed == Retry(str(status), "not now", 7.0, of_service=of_service, doubtful=doubtful)


@pytest.mark.parametrize("status", [400, 410, 413, 415, 422, 451])
async def test_what_is_the_mails_fault_is_refused(status: int):
    async with receiving(Receiver(status=status, body=b'{"detail": "ada@example.org is odd"}')) as receiver:
        assert await hand_over(receiver) == Refused(str(status), "[address] is odd")
        receiver.body = b'{"hard_bounce": true}'
        assert await hand_over(receiver) == Refused(str(status), "Said", hard_bounce=True)


@pytest.mark.parametrize("status", [500, 502, 504, 599])
async def test_a_service_that_went_wrong_may_have_taken_it(status: int):
    async with receiving(Receiver(status=status)) as receiver:
        assert await hand_over(receiver) == Retry(str(status), "Said", doubtful=True)
        assert await hand_over(receiver, **FORGETFUL) == Unknown(str(status), "Said")


@pytest.mark.parametrize(
    "receiver", [Receiver(status=None), Receiver(seconds=5), Receiver(raw=b"nonsense\r\n\r\n")]
)
async def test_without_an_answer_the_key_decides(receiver: Receiver):
    async with receiving(receiver):
        mark = Mark()
        handed = await hand_over(receiver, mark=mark, timeout_seconds="0.2")
        forgotten = await hand_over(receiver, timeout_seconds="0.2", **FORGETFUL)
    assert isinstance(handed, Retry)
    assert isinstance(forgotten, Unknown)
    assert (handed.code, handed.of_service, forgotten.code, mark.times) == (
        "connection",
        True,
        "connection",
        1,
    )
    assert receiver.bodies[0]["id"] == MAIL.id


async def test_an_answer_that_never_ends_is_judged_by_its_beginning():
    async with receiving(Receiver(raw=b"HTTP/1.1 202 Accepted\r\nContent-Length: 10\r\n\r\n{")) as receiver:
        assert isinstance(await hand_over(receiver, timeout_seconds="0.2", **FORGETFUL), Accepted)
    endless = b"HTTP/1.1 422 No\r\nContent-Length: 100000000\r\n\r\n" + b" " * (MOST_BYTES + 1)
    async with receiving(Receiver(raw=endless)) as receiver:
        assert isinstance(await hand_over(receiver), Refused)


@pytest.mark.parametrize("settings", [{}, FORGETFUL])
async def test_nobody_there_is_tried_again_and_nothing_was_about_to_go(settings: dict[str, str]):
    async with receiving() as receiver:
        pass
    mark = Mark()
    handed = await hand_over(receiver, mark=mark, **settings)
    assert isinstance(handed, Retry)
    assert (handed.code, handed.of_service, mark.times) == ("connection", True, 0)


@pytest.mark.parametrize("error", [OSError("disk"), TimeoutError("database"), ValueError("bug")])
async def test_who_cannot_write_it_down_has_not_sent_it(error: Exception):
    async with receiving() as receiver:
        transport = HttpTransport(receiver.settings())
        with pytest.raises(type(error), match=str(error)):
            await transport.hand_over(transport.compose(MAIL), about_to=Mark(raising=error))
        assert receiver.asked == []
        assert isinstance(await transport.hand_over(transport.compose(MAIL), about_to=Mark()), Accepted)
        await transport.close()


async def test_to_wait_for_a_free_connection_is_not_to_wait_for_the_service():
    async with receiving(Receiver(seconds=0.2)) as receiver:
        transport = HttpTransport(receiver.settings(connections="1", timeout_seconds="0.4"))
        handed = await asyncio.gather(
            *(transport.hand_over(transport.compose(MAIL), about_to=Mark()) for _ in range(6))
        )
        await transport.close()
    assert all(isinstance(each, Accepted) for each in handed)


async def test_connections_are_used_again_and_are_no_more_than_the_settings_say():
    async with receiving(Receiver(seconds=0.02)) as receiver:
        transport = HttpTransport(receiver.settings(connections="3"))
        handed = await asyncio.gather(
            *(transport.hand_over(transport.compose(MAIL), about_to=Mark()) for _ in range(15))
        )
        await transport.close()
    assert all(isinstance(each, Accepted) for each in handed)
    assert receiver.connections == 3


NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
        ("0", 0),
        (" 120 ", 120),
        ("9" * 400, 86_400),
        ("Mon, 23 Nov 2026 12:02:00 GMT", 120),
        ("Mon, 23 Nov 2026 12:02:00 -0000", 120),
        ("Mon, 23 Nov 2026 11:00:00 GMT", 0),
        ("Tue, 23 Nov 2027 12:00:00 GMT", 86_400),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_has_an_end(said: str | None, seconds: float | None):
    assert seconds_of(said, NOW) == seconds

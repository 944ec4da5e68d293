"""What is sent after DATA: seven bits, short lines, doubled dots, and every letter of what was written."""

from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from app.notifications.delivering.transports.composing import LONGEST_LINE, MailUnfitError, compose
from app.notifications.delivering.transports.transport import (
    LONGEST_DETAIL,
    Accepted,
    Refused,
    Retry,
    discreet,
    told,
)
from tests.app.notifications.delivering.transports.mail_servers import MAIL

CONTROLS = [*map(chr, range(32)), *map(chr, range(0x7F, 0xA0)), "\u2028", "\u2029"]
WRITTEN = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]) | st.sampled_from("\n."))
IN_ONE_LINE = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1)


def read_back(content: bytes) -> EmailMessage:
    """What a server keeps of it (RFC 5321, section 4.5.2)."""
    lines = [line.removeprefix(b".") for line in content.split(b"\r\n")]
    message = BytesParser(policy=default).parsebytes(b"\r\n".join(lines))
    assert isinstance(message, EmailMessage)
    return message


def body(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    assert part
    return part.get_content().replace("\r\n", "\n")


@given(WRITTEN, WRITTEN, IN_ONE_LINE)
@example(".", "\n.\n..\n", "x" * 2000)
@example("x" * 5000, "ñ" * 5000, "🚀 " * 500)
def test_whatever_is_written_arrives_in_short_lines_of_seven_bits(text: str, html: str, subject: str) -> None:
    content = compose(replace(MAIL, text=text, html=html, subject=subject)).content
    lines = content.split(b"\r\n")
    assert content.isascii()
    assert all(len(line) <= LONGEST_LINE for line in lines)
    assert lines[-1] == b""
    assert b"." not in lines
    assert not b"".join(lines).strip(b"\x00").count(b"\n")
    message = read_back(content)
    assert body(message, "plain").rstrip("\n") == text.rstrip("\n")
    assert body(message, "html").rstrip("\n") == html.rstrip("\n")
    assert "".join(message["Subject"].split()) == "".join(subject.split())


def test_every_try_hands_over_the_same_bytes() -> None:
    assert compose(MAIL) == compose(MAIL)


@pytest.mark.parametrize("control", CONTROLS)
def test_no_control_gets_into_a_header(control: str) -> None:
    for mail in (
        replace(MAIL, subject=f"a{control}b"),
        replace(MAIL, headers={"List-Unsubscribe": f"<https://a.example>{control}"}),
    ):
        with pytest.raises(MailUnfitError):
            compose(mail)


@pytest.mark.parametrize(
    "broken",
    [
        {"subject": "one\r\nBcc: eve@example.org"},
        {"subject": "one\u2028two"},
        {"sender": '"one\nBcc: eve@example.org" <a@b.example>'},
        {"headers": {"List-Unsubscribe": "<https://a.example>\r\nBcc: eve@example.org"}},
        {"headers": {"X\r\nBcc": "eve@example.org"}},
        {"headers": {"Subject": "another"}},
        {"headers": {"X-Long": "x" * 1000}},
        {"message_id": "<1@a.example>\nBcc: eve@example.org"},
        {"to": "ada@example.org\r\nRCPT TO:<eve@example.org>"},
        {"to": "nobody"},
        {"to": "ada@example.org, eve@example.org"},
    ],
)
def test_a_mail_that_would_say_more_than_was_meant_is_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(MailUnfitError) as error:
        compose(replace(MAIL, **broken))
    assert "example" not in str(error.value)


def test_a_mail_without_html_is_plain_text() -> None:
    message = read_back(compose(replace(MAIL, html=None)).content)
    assert message.get_content_type() == "text/plain"


@pytest.mark.parametrize("sender", ["a@b.example", "Ästro <a@b.example>", '"Astro, Inc." <a@b.example>'])
def test_the_sender_may_have_a_name_in_any_letters(sender: str) -> None:
    composed = compose(replace(MAIL, sender=sender))
    assert composed.sender == "a@b.example"
    assert str(read_back(composed.content)["From"]) == sender


def test_of_what_a_service_says_one_short_line_without_addresses_is_kept() -> None:
    said = "550 <Ada.Lovelace+x@Example.org> is\r\n\tnot\x1b[31m here" + "!" * 1000
    kept = told(said)
    assert kept.startswith("550 <[address]> is not [31m here!")
    assert len(kept) == LONGEST_DETAIL


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("5.7.1 has https://core.example/reset?token=acl_abc-_1 in it", "5.7.1 has [link] in it"),
        ("5.7.1 (<http://core.example/x>)", "5.7.1 [link]"),
        ("5.7.1 core.example/reset?token=acl_abc-_1", "5.7.1 core.example/reset?token=[token]"),
        (
            "no ada＠example.com, ada%40example.com, b+ada=example.com@list",
            "no [address] [address] [address]",
        ),
        ("no a\u200bda@\u200bexample.com", "no [address]"),
        ("x" * 100_000 + " " + "y:/" * 100_000, "x" * LONGEST_DETAIL),
    ],
)
def test_what_a_service_quotes_of_a_mail_is_not_kept(said: str, kept: str) -> None:
    assert told(said) == kept


def test_of_a_mail_that_holds_a_secret_only_codes_are_kept() -> None:
    refused = Refused("554", "5.7.1 has core dot example in it", hard_bounce=True)
    assert discreet(refused) == Refused("554", "5.7.1 [withheld]", hard_bounce=True)
    assert discreet(Accepted("7", "queued")) == Accepted("7", "[withheld]")
    ours = Retry("connection", "no connection")
    assert discreet(ours) == ours

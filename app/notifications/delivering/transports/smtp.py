"""Mail by SMTP (RFC 5321), to one server that takes it for everybody.

SMTP knows no keys: a mail that is handed over twice arrives twice. So the dot that ends a mail is kept back until its sender
has written down that it is about to be sent, and nobody tries again where it was not answered.

What the server turns down before the recipient is named, for good or not, is no fault of the mail: it is told to try again.
"""

import asyncio
import re

from aiosmtplib import (
    SMTP,
    SMTPException,
    SMTPRecipientRefused,
    SMTPResponse,
    SMTPResponseException,
    SMTPSenderRefused,
    SMTPServerDisconnected,
)

from app.notifications.delivering.transports.composing import Composed, compose
from app.notifications.delivering.transports.smtp_pool import TROUBLE, Connection, NoConnectionError, SmtpPool
from app.notifications.delivering.transports.transport import (
    AboutTo,
    Accepted,
    Handed,
    Mail,
    Refused,
    Retry,
    Unknown,
    told,
)
from config.settings import Settings

_DOT = b".\r\n"
_GO_AHEAD = 354
_TAKEN, _FAILED, _REFUSED = range(200, 300), range(400, 500), range(500, 600)
_CLOSING = 421

# Enhanced status codes (RFC 3463) by subject and detail.
_ENHANCED = re.compile(r"[245]\.(\d{1,3})\.(\d{1,3})\b")
_OF_SERVICE = {
    "3",
    "4",
    "5",
}  # the mail system, its network, the protocol; not addresses, mailboxes, content and policy
# There is no such mailbox, its domain takes no mail, it has moved, it is disabled. But one that is full will be emptied.
_GONE = {("1", "0"), ("1", "1"), ("1", "2"), ("1", "3"), ("1", "6"), ("1", "10"), ("2", "1")}
# What servers without enhanced codes say of a recipient: there is none, not here, no valid name.
_NO_SUCH = {550, 551, 553}


class SmtpTransport:
    """Hands mail over to the mail server of the settings."""

    name = "smtp"
    dedupes = False

    def __init__(self, settings: Settings) -> None:
        self._pool = SmtpPool(settings)
        self._patience = settings.notification_timeout_seconds

    def compose(self, mail: Mail) -> Composed:
        """See `Transport`."""
        return compose(mail)

    async def hand_over(self, composed: Composed, *, about_to: AboutTo) -> Handed:
        """See `Transport`."""
        try:
            async with self._pool.connection() as connection:
                return await self._converse(connection, composed, about_to)
        except NoConnectionError as error:
            return Retry(error.code, told(str(error)))

    async def close(self) -> None:
        """See `Transport`."""
        await self._pool.close()

    async def _converse(self, connection: Connection, composed: Composed, about_to: AboutTo) -> Handed:
        try:
            async with asyncio.timeout(self._patience):
                if turned_down := await _announce(connection.smtp, composed):
                    return turned_down
                _write(connection.smtp, composed.content)
        except TROUBLE as error:
            connection.broken = True
            return Retry("connection", _broken(error))
        await about_to()
        return await self._finish(connection)

    async def _finish(self, connection: Connection) -> Handed:
        try:
            _write(connection.smtp, _DOT)
        except SMTPServerDisconnected as error:
            connection.broken = True
            return Retry("connection", _broken(error))
        try:
            return _judged(await _answer(connection.smtp, self._patience))
        except TROUBLE as error:
            connection.broken = True
            return Unknown("connection", _broken(error))


async def _announce(smtp: SMTP, composed: Composed) -> Handed | None:
    """Sender, recipient, and that content is to come; answers how it ended where the server does not want to go on."""
    options, encoding = [], "ascii"
    if composed.international:
        if not smtp.supports_extension("smtputf8"):
            return Refused("smtputf8", "the mail server takes no address with more than ASCII before its @")
        options, encoding = ["SMTPUTF8", "BODY=8BITMIME"], "utf-8"
    try:
        await smtp.mail(composed.sender, options=options, encoding=encoding)
    except SMTPSenderRefused as error:
        return Retry(str(error.code), told(error.message))
    try:
        await smtp.rcpt(composed.recipient, encoding=encoding)
    except SMTPRecipientRefused as error:
        return _turned_down(SMTPResponse(error.code, error.message), of_recipient=True)
    answer = await smtp.execute_command(b"DATA")
    return None if answer.code == _GO_AHEAD else _turned_down(answer)


def _judged(answer: SMTPResponse) -> Handed:
    return Accepted(detail=told(answer.message)) if answer.code in _TAKEN else _turned_down(answer)


def _turned_down(answer: SMTPResponse, *, of_recipient: bool = False) -> Refused | Retry:
    """Raises SMTPResponseException where the answer says neither."""
    code, detail = str(answer.code), told(answer.message)
    enhanced = _ENHANCED.match(answer.message)
    if answer.code in _REFUSED:
        gone = enhanced.groups() in _GONE if enhanced else of_recipient and answer.code in _NO_SUCH
        return Refused(code, detail, hard_bounce=gone)
    if answer.code in _FAILED:
        of_service = enhanced[1] in _OF_SERVICE if enhanced else not of_recipient
        return Retry(code, detail, of_service=of_service or answer.code == _CLOSING)
    raise SMTPResponseException(answer.code, answer.message)


def _write(smtp: SMTP, content: bytes) -> None:
    if smtp.protocol is None:
        raise SMTPServerDisconnected("Connection lost")
    smtp.protocol.write(content)


async def _answer(smtp: SMTP, seconds: float) -> SMTPResponse:
    if smtp.protocol is None:
        raise SMTPServerDisconnected("Connection lost")
    return await smtp.protocol.read_response(timeout=seconds)


def _broken(error: SMTPException | OSError) -> str:
    if isinstance(error, SMTPResponseException):
        return told(f"{error.code} {error.message}")
    return told(str(error)) or type(error).__name__

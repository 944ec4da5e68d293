"""Connections to a mail server that several tasks of one event loop share: opened on demand, used again, left politely."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from aiosmtplib import SMTP, SMTPException, SMTPResponseException

from config.settings import PREFIX, Settings, SettingsError

IDLE_SECONDS = 30.0  # servers wait for five minutes (RFC 5321, 4.5.3.2.7), and some of them for less
MOST_MAILS = 100  # over one connection; many servers end it later on
QUIT_SECONDS = 2.0

TROUBLE = (SMTPException, OSError)
"""What is raised on a connection: that it broke, took too long, or carried no SMTP. OSError includes TimeoutError and TLS."""


class NoConnectionError(Exception):
    """There is no connection to be had, or it is not as the settings want it; no mail is the cause."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Connection:
    """A connection on which a mail may be handed over now. Whoever sets `broken` is its last user."""

    def __init__(self, smtp: SMTP) -> None:
        self.smtp = smtp
        self.broken = False
        self.mails = 0
        self.idle_since = 0.0


class SmtpPool:
    """At most as many connections as the settings say; one on which something went wrong is not used again.

    Raises SettingsError where the certificates that are to be trusted cannot be read.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._room = asyncio.Semaphore(settings.notification_connections)
        self._idle: list[Connection] = []
        self._tls = _tls(settings)
        self._our_name: str | None = None
        self._keeper: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection for one mail, as soon as there is room for it; from then on raises NoConnectionError within the time-out."""
        async with self._room:
            taken = await self._take()
            try:
                yield taken
            except BaseException:
                taken.broken = True
                raise
            finally:
                await self._give_back(taken)

    async def close(self) -> None:
        """Leave all connections that nobody uses."""
        if self._keeper:
            self._keeper.cancel()
        idle, self._idle = self._idle, []
        await asyncio.gather(*map(_leave, idle))

    async def _take(self) -> Connection:
        try:
            async with asyncio.timeout(self._settings.notification_timeout_seconds):
                return await self._reuse() or Connection(await self._open())
        except TROUBLE as error:
            raise _explained(error) from error

    async def _reuse(self) -> Connection | None:
        while self._idle:
            latest = self._idle.pop()
            try:
                # Shows that it is alive, and forgets a mail that was turned down half-way.
                await latest.smtp.rset()
            except TROUBLE:
                latest.smtp.close()
            except BaseException:
                latest.smtp.close()
                raise
            else:
                return latest
        return None

    async def _open(self) -> SMTP:
        chosen = self._settings
        password = chosen.notification_smtp_password
        smtp = SMTP(
            hostname=chosen.notification_smtp_host,
            port=chosen.notification_smtp_port,
            username=chosen.notification_smtp_user or None,
            password=password.get_secret_value() if password else None,
            local_hostname=self._our_name,
            use_tls=chosen.notification_smtp_tls == "implicit",
            start_tls=chosen.notification_smtp_tls == "starttls",
            tls_context=self._tls,
            timeout=chosen.notification_timeout_seconds,
        )
        try:
            await smtp.connect()
            if smtp.is_ehlo_or_helo_needed:
                await smtp.ehlo()
        except BaseException:
            smtp.close()
            raise
        self._our_name = smtp.local_hostname  # to find it out may take seconds
        return smtp

    async def _give_back(self, used: Connection) -> None:
        used.mails += 1
        if used.broken:
            used.smtp.close()
        elif used.mails >= MOST_MAILS:
            await _leave(used)
        elif used.smtp.is_connected:
            used.idle_since = time.monotonic()
            self._idle.append(used)
            if self._keeper is None or self._keeper.done():
                self._keeper = asyncio.create_task(self._leave_idle(), name="leave idle mail connections")

    async def _leave_idle(self) -> None:
        while self._idle:
            await asyncio.sleep(IDLE_SECONDS / 2)
            before = time.monotonic() - IDLE_SECONDS
            old = [each for each in self._idle if each.idle_since < before]
            self._idle = [each for each in self._idle if each.idle_since >= before]
            await asyncio.gather(*map(_leave, old))


def _tls(settings: Settings) -> ssl.SSLContext | None:
    if settings.notification_smtp_tls == "none":
        return None
    file = settings.notification_smtp_ca_file
    try:
        return ssl.create_default_context(cafile=file)
    except OSError as error:
        raise SettingsError(
            f"{PREFIX}NOTIFICATION_SMTP_CA_FILE: no certificates can be read from {file}"
        ) from error


def _explained(error: SMTPException | OSError) -> NoConnectionError:
    match error:
        case SMTPResponseException(code=code, message=message):
            return NoConnectionError(str(code), message)
        case TimeoutError() if not isinstance(error, SMTPException):
            return NoConnectionError("timeout", "the mail server was not ready in time")
        case _:
            return NoConnectionError("connection", str(error) or type(error).__name__)


async def _leave(connection: Connection) -> None:
    with suppress(*TROUBLE):
        await connection.smtp.quit(timeout=QUIT_SECONDS)
    connection.smtp.close()

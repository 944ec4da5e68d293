"""Whether mail can go, and goes: for the doctor. Nothing is sent."""

import asyncio
import ssl
from urllib.parse import urlsplit

import asyncpg
import httpx

from app.checks import Check, expect
from app.notifications.delivering.transports.opening import configured
from app.notifications.delivering.transports.smtp_pool import TROUBLE, NoConnectionError, SmtpPool
from app.notifications.delivering.transports.transport import told
from app.notifications.ledger.queries import read_circuits
from app.notifications.ledger.states import State
from app.notifications.ledger.views import CircuitView
from config.mail_rules import MAIL_NEEDS
from config.settings import PREFIX, Settings

OVERDUE_SECONDS = 300
"""A mail that is due goes within seconds, or is put off; one whose worker died is found after five minutes."""
_PATIENCE_SECONDS = 5.0
_PORTS = {"http": 80, "https": 443}
_WAITING = [State.SCHEDULED, State.PENDING, State.SENDING]
# RFC 4954, sections 4 and 6: what is said of who signs in, or does not.
_SIGN_IN = {"530", "534", "535", "538"}
_SMTP, _HTTP = f"{PREFIX}NOTIFICATION_SMTP_", f"{PREFIX}NOTIFICATION_HTTP_"


def look_at_settings(settings: Settings) -> list[Check]:
    """Whether the transport that mail is to go by has all that it needs."""
    transport = settings.notification_transport
    lacking = [PREFIX + name.upper() for name in MAIL_NEEDS[transport] if not getattr(settings, name)]
    return [expect("mail settings", lacking, f"set them; `astrocore config` tells what for ({transport})")]


async def look_at_service(settings: Settings, transport: str) -> list[Check]:
    """Whether the service behind a transport lets us in, as far as that can be told without a mail."""
    return [await (_mail_server(settings) if transport == "smtp" else _http_service(settings))]


async def look_at_mail(connection: asyncpg.Connection, settings: Settings) -> list[Check]:
    """The circuits of the transports that are set up, and the mails that nobody sees to. Raises what the driver raises."""
    ways = configured(settings)
    circuits = [_circuit(each) for each in await read_circuits(connection, ways)]
    return [*circuits, await _waiting(connection, ways), await _in_doubt(connection)]


async def _mail_server(settings: Settings) -> Check:
    seconds = min(settings.notification_timeout_seconds, _PATIENCE_SECONDS)
    pool = SmtpPool(settings.model_copy(update={"notification_timeout_seconds": seconds}))
    place = f"{settings.notification_smtp_host}:{settings.notification_smtp_port}"
    try:
        async with pool.connection() as connection:
            await connection.smtp.noop()
    except NoConnectionError as error:
        return _no_mail_server(place, error.code, told(str(error)))
    except TROUBLE as error:
        return _no_mail_server(place, "connection", told(str(error)) or type(error).__name__)
    finally:
        await pool.close()
    signed_in = f", signed in as {settings.notification_smtp_user}" if settings.notification_smtp_user else ""
    return Check("mail server", ok=True, found=f"{place}, TLS {settings.notification_smtp_tls}{signed_in}")


def _no_mail_server(place: str, code: str, why: str) -> Check:
    if code in _SIGN_IN:
        advice = f"correct {_SMTP}USER and {_SMTP}PASSWORD"
    elif "certificate" in why.lower():
        advice = f"{_SMTP}HOST must be a name in its certificate, and {_SMTP}CA_FILE have who issued it"
    else:
        advice = f"start it, or correct {_SMTP}HOST, {_SMTP}PORT or {_SMTP}TLS"
    return Check("mail server", ok=False, found=f"{place}: {code} {why}", advice=advice)


async def _http_service(settings: Settings) -> Check:
    """Connects, and hangs up: whatever is posted there is a mail."""
    url = urlsplit(settings.notification_http_url or "")
    context = httpx.create_ssl_context() if url.scheme == "https" else None
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            port = url.port or _PORTS[url.scheme]
            _reader, writer = await asyncio.open_connection(url.hostname, port, ssl=context)
    except (OSError, ValueError) as error:
        advice = f"start it, or correct {_HTTP}URL"
        if isinstance(error, ssl.SSLError):
            advice = "its certificate must be for that host, and by an issuer that this machine trusts"
        why = told(str(error)) or type(error).__name__
        return Check("mail service", ok=False, found=f"{url.netloc}: {why}", advice=advice)
    writer.close()
    how = "TLS" if context else "no TLS"
    return Check("mail service", ok=True, found=f"{url.netloc} answers, {how}; nothing was posted")


def _circuit(circuit: CircuitView) -> Check:
    name = f"mail circuit {circuit.name}"
    if circuit.state == "closed":
        return Check(name, ok=True, found=f"closed, {circuit.failures} failures in a row")
    since = f"{circuit.changed_at:%Y-%m-%d %H:%M} UTC" if circuit.changed_at else "unknown"
    found = f"open since {since}: {circuit.because}"
    advice = "it closes by itself once a mail gets through: look why the service fails"
    return Check(name, ok=False, found=found, advice=advice)


async def _waiting(connection: asyncpg.Connection, ways: list[str]) -> Check:
    row = await connection.fetchrow(
        """
        SELECT count(*) AS waiting, count(*) FILTER (WHERE transport <> ALL($2)) AS nowhere,
            count(*) FILTER (WHERE next_at < clock_timestamp() - make_interval(secs => $3)) AS overdue
        FROM notifications WHERE state = ANY($1)
        """,
        _WAITING,
        ways,
        OVERDUE_SECONDS,
    )
    found = f"{row['waiting']:,} wait, {row['overdue']:,} of them overdue"
    advice = None
    if row["nowhere"]:
        found += f", {row['nowhere']:,} for a transport that is not set up"
        advice = "set that transport up again too, or cancel them"
    elif row["overdue"]:
        advice = "look whether a worker and the scheduler run, and what `astrocore logs --event mails.stopped` tells"
    return Check("mail waiting", ok=advice is None, found=found, advice=advice)


async def _in_doubt(connection: asyncpg.Connection) -> Check:
    count = await connection.fetchval(
        """
        SELECT count(*) FROM notifications AS row
        WHERE state = $1 AND NOT EXISTS (SELECT FROM notifications WHERE retry_of = row.id)
        """,
        State.UNKNOWN,
    )
    advice = (
        "somebody has to decide: `astrocore notifications list --state unknown`, then `resolve`, or `retry`"
    )
    return Check(
        "mail in doubt",
        ok=not count,
        found=f"{count:,} may have gone, or not",
        advice=advice if count else None,
    )

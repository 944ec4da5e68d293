"""Mail: how many a second one worker process delivers, against the bare transport to the same server, and how late it is.

The server takes everything at once. The bare transport hands over as many of the same mails, by one process and over as many
connections; they are rendered before. The worker renders them too, and writes down every step.

Mails that are due at one moment lie in the core DB until then, and nobody is told of them: the scheduler and the worker
find them as they find all mail. How late each is, is told by what the worker wrote down when it had gone.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from app.accounts.addresses import address
from app.accounts.encryption import safe_of
from app.embedded.procfile import read_procfile, repository_root
from app.notifications.addresses.recipients import Resolved
from app.notifications.asking.triggering import Mailing, Order, trigger
from app.notifications.delivering.claiming import Claim
from app.notifications.delivering.post_office import letters_of
from app.notifications.delivering.transports.smtp import SmtpTransport
from app.notifications.delivering.transports.transport import Accepted, Mail
from app.notifications.templates.catalogue import load_version
from app.notifications.templates.content import Kind
from app.notifications.templates.installing import ensure_shipped
from app.stores.connections import Stores, open_stores
from app.stores.migrate import create_foreign_schemas, migrate
from benchmarks import orders
from benchmarks.audit_web import environment_of
from benchmarks.bookings import say
from benchmarks.figure import Figure, compare
from config.settings import PREFIX, Settings, parse_settings

TEMPLATE = "booking-confirmation"
_RATIO, _LATE_SECONDS = 0.5, 5.0
_PATIENCE_SECONDS = 120.0


def run(settings: Settings, *, quick: bool, records: int | None) -> Iterator[Figure]:
    """`records` is how many mails go at once, and how many are due at one moment."""
    number = records or (200 if quick else 1000)
    yield from asyncio.run(_measure(settings, number, quick=quick))


async def _measure(settings: Settings, number: int, *, quick: bool) -> list[Figure]:
    pairs = 1 if quick else 3
    await migrate(settings)
    await create_foreign_schemas(settings)
    await ensure_shipped(settings)
    async with _sink() as port, open_stores(settings) as opened:
        mail = _mail_settings(port)
        own = {**_known(settings), **mail}
        stores = Stores(**{**vars(opened), "settings": parse_settings(own)})
        async with _running("worker", settings, mail), _running("scheduler", settings, mail):
            await _deliver(stores, settings, mail, 10)
            measured = []
            for _ in range(pairs):
                say(f"{number} mails, by the worker and by the bare transport")
                delivered = await _deliver(stores, settings, mail, number)
                measured.append((delivered, await _bare(stores, number)))
            say(f"{number} mails that are due at one moment")
            late = await _lateness(stores, number)
    ordered = await orders.measure(settings, mail, rounds=pairs, seconds=2.0 if quick else 6.0)
    return [
        compare(
            "notifications: delivered by one worker process",
            "mails/s",
            measured,
            limit_name="the bare transport",
            goal=f"ratio >= {_RATIO}",
            reached=lambda ratio: ratio >= _RATIO,
        ),
        Figure(
            f"notifications: {number} due at one moment, p99 lateness",
            late,
            "s",
            goal=f"<= {_LATE_SECONDS:g} s",
            ok=late <= _LATE_SECONDS,
        ),
        *ordered,
    ]


def _mail_settings(port: int) -> dict[str, str]:
    values = {
        "TRANSPORT": "smtp",
        "SMTP_HOST": "127.0.0.1",
        "SMTP_PORT": str(port),
        "SMTP_TLS": "none",
        "PER_SECOND": "10000",
    }
    values["FROM"] = "AstroBookings <no-reply@astrobookings.example>"
    return {f"{PREFIX}NOTIFICATION_{name}": value for name, value in values.items()}


def _known(settings: Settings) -> dict[str, str]:
    environment = environment_of(settings)
    return (
        {name: value for name, value in environment.items() if name.startswith(PREFIX)}
        | {
            f"{PREFIX}{name.upper()}": settings.url(name)
            for name in (
                "core_database_url",
                "admin_database_url",
                "customer_database_url",
                "broker_url",
                "audit_url",
                "logs_url",
            )
        }
        | {
            f"{PREFIX}{name.upper()}": secret.get_secret_value()
            for name in ("encryption_keys", "password_peppers")
            if (secret := getattr(settings, name))
        }
        | {f"{PREFIX}NAMESPACE": settings.namespace}
    )


@asynccontextmanager
async def _sink() -> AsyncIterator[int]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.mail_sink", cwd=repository_root(),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout
    try:
        yield int(await process.stdout.readline())
    finally:
        process.terminate()
        await process.wait()


@asynccontextmanager
async def _running(name: str, settings: Settings, mail: dict[str, str]) -> AsyncIterator[None]:
    """A process of the Procfile, for as long as the block runs."""
    process = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", read_procfile()[name], env={**environment_of(settings), **mail}, cwd=repository_root(),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _wake(settings: Settings, mail: dict[str, str]) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from actors.notifications import wake_delivery; wake_delivery()",
        env={**environment_of(settings), **mail}, cwd=repository_root(),
    )  # fmt: skip
    assert await process.wait() == 0


async def _order(stores: Stores, number: int, send_at: datetime | None = None) -> Sequence[Any]:
    template = await load_version(stores.core, TEMPLATE)
    to = [Resolved("address", None, address(f"person{each}@example.com")) for each in range(number)]
    order = Order(
        template=template,
        mailings=[Mailing(each, template.content.sample, "en") for each in to],
        transport="smtp",
        send_at=send_at,
    )
    async with stores.core.acquire() as connection, connection.transaction():
        made = await trigger(
            connection, order, by="benchmark", moment=datetime.now(UTC), safe=safe_of(stores.settings)
        )
    return made.notifications


_SPENT = """
    SELECT count(*) AS mails, extract(epoch FROM max(ended_at) - min(started_at))::float8 AS seconds,
        percentile_cont(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM ended_at - send_at))::float8 AS late
    FROM notification_attempts JOIN notifications AS row ON row.id = notification_id
    WHERE notification_id = ANY($1) AND outcome = 'accepted'
"""


async def _deliver(stores: Stores, settings: Settings, mail: dict[str, str], number: int) -> float:
    """Mails a second, from the first claim to the last answer that was written down."""
    asked = await _order(stores, number)
    await _wake(settings, mail)
    return number / (await _ended(stores, asked))["seconds"]


async def _lateness(stores: Stores, number: int) -> float:
    """Seconds. The moment lies between two minutes, at which the scheduler wakes delivery anyway."""
    soon = datetime.now(UTC) + timedelta(seconds=2)
    due = soon.replace(second=0, microsecond=0) + timedelta(minutes=1, seconds=5.5)
    asked = await _order(stores, number, due)
    late: float = (await _ended(stores, asked))["late"]
    return late


async def _ended(stores: Stores, asked: Sequence[Any]) -> Any:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while (row := await stores.core.fetchrow(_SPENT, asked))["mails"] < len(asked):
        assert time.monotonic() < deadline, f"{row['mails']} of {len(asked)} mails went"
        await asyncio.sleep(0.2)
    return row


async def _bare(stores: Stores, number: int) -> float:
    """Mails a second of the transport alone, over as many connections."""
    asked = await _order(stores, number, datetime.now(UTC) + timedelta(days=300))
    rows = await stores.core.fetch("SELECT * FROM notifications WHERE id = ANY($1)", asked)
    await stores.core.execute(
        "UPDATE notifications SET state = 'cancelled', next_at = NULL WHERE id = ANY($1)", asked
    )
    writing = letters_of(stores)
    mails = await writing.write([Claim(row, "benchmark", 1) for row in rows])
    assert rows[0]["kind"] == Kind.BOOKING
    transport = SmtpTransport(stores.settings)
    left = iter(mails)

    async def hand_over() -> None:
        for each in left:
            assert isinstance(each, Mail)
            assert isinstance(await transport.hand_over(transport.compose(each), about_to=_nothing), Accepted)

    started = time.perf_counter()
    try:
        await asyncio.gather(*(hand_over() for _ in range(stores.settings.notification_connections)))
        return number / (time.perf_counter() - started)
    finally:
        await transport.close()


async def _nothing() -> None:
    pass

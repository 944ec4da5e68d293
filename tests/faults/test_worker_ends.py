"""A worker that is told to end, while mails are on the wire: none is left in doubt, and none is left claimed."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from app.embedded.procfile import read_procfile, repository_root
from app.stores.connections import Stores
from tests.app.notifications.post import ask, make_template, states
from tests.faults.receivers import Taken, receiving

pytestmark = pytest.mark.slow

MAILS = 60


@contextmanager
def worker(environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    path = os.pathsep.join((os.path.dirname(sys.executable), os.environ["PATH"]))  # noqa: PTH120
    with subprocess.Popen(
        ["/bin/sh", "-c", read_procfile()["worker"]],
        env={**os.environ, **environment, "PATH": path},
        cwd=repository_root(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


async def until(good: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not good():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_a_worker_that_is_told_to_end_answers_for_every_mail(
    stores: Stores, stores_environment: dict[str, str]
) -> None:
    await make_template(stores)
    await ask(stores, *(f"p{number}@example.com" for number in range(MAILS)))
    with receiving() as taken:
        environment = environment_of(stores, stores_environment, taken)
        wake = "from actors.notifications import wake_delivery; wake_delivery()"
        argv = [sys.executable, "-c", wake]
        await asyncio.to_thread(subprocess.run, argv, env={**os.environ, **environment}, check=True)
        with worker(environment) as process:
            await until(lambda: taken.by_smtp.total() >= MAILS // 4)
            process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(process.wait, 20)
        found = await states(stores)
        assert taken.by_smtp.total() == found["sent"] < MAILS
        assert "unknown" not in found
        assert not await stores.core.fetchval(
            "SELECT count(*) FROM notifications WHERE claimed_by IS NOT NULL"
        )


def environment_of(stores: Stores, known: dict[str, str], taken: Taken) -> dict[str, str]:
    chosen = stores.settings
    own = {
        "NAMESPACE": chosen.namespace,
        "CORE_DATABASE_URL": chosen.url("core_database_url"),
        "ADMIN_DATABASE_URL": chosen.url("admin_database_url"),
        "CUSTOMER_DATABASE_URL": chosen.url("customer_database_url"),
        "NOTIFICATION_FROM": "AstroBookings <no-reply@astrobookings.example>",
        "NOTIFICATION_SMTP_HOST": "127.0.0.1",
        "NOTIFICATION_SMTP_PORT": str(taken.smtp_port),
        "NOTIFICATION_SMTP_TLS": "none",
    }
    return known | {f"ASTROCORE_{name}": value for name, value in own.items()}

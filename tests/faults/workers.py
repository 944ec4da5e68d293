"""A worker as the Procfile starts it, on the stores of a test, to be stopped and killed: no others are ever touched."""

import asyncio
import inspect
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dramatiq import Message
from dramatiq.brokers.redis import RedisBroker

from actors.queues import Queue
from app.embedded.procfile import read_procfile, repository_root
from config.settings import Settings
from tests.faults.receivers import Taken

SECONDS = 40.0


@contextmanager
def worker(environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    with subprocess.Popen(
        ["/bin/sh", "-c", read_procfile()["worker"]],
        env={**os.environ, **environment, "PATH": path},
        cwd=repository_root(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            signal_all(process, signal.SIGKILL)


def signal_all(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Signal a worker and the child in which it works."""
    if process.poll() is None:
        os.killpg(process.pid, number)


async def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill both, and wait until neither does anything any more."""
    signal_all(process, signal.SIGKILL)
    await asyncio.to_thread(process.wait, 20)
    await until(lambda: not _is_alive(process.pid))


def _is_alive(group: int) -> bool:
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            state, _, found = file.read_text().rpartition(")")[2].split()[:3]
            if int(found) == group and state not in "ZX":
                return True
    return False


async def until(good: Callable[[], Any], seconds: float = SECONDS) -> None:
    """Wait until it is so; what is awaited for that is."""
    deadline = time.monotonic() + seconds
    while True:
        found = good()
        if await found if inspect.isawaitable(found) else found:
            return
        assert time.monotonic() < deadline, "waited too long"
        await asyncio.sleep(0.02)


def wake(chosen: Settings) -> None:
    """Have the mails that are due handed over, as `wake_delivery` does in a process of the service."""
    broker = RedisBroker(url=chosen.url("broker_url"), namespace=chosen.namespace, middleware=[])
    broker.declare_queue(Queue.MAILS)
    broker.enqueue(Message(Queue.MAILS, "deliver_mails", (), {}, {}))
    broker.client.close()


def environment_of(chosen: Settings, known: dict[str, str], taken: Taken, **more: str) -> dict[str, str]:
    """What a worker with these settings is started with; both services of `taken` are there."""
    own = {
        "NAMESPACE": chosen.namespace,
        "CORE_DATABASE_URL": chosen.url("core_database_url"),
        "ADMIN_DATABASE_URL": chosen.url("admin_database_url"),
        "CUSTOMER_DATABASE_URL": chosen.url("customer_database_url"),
        "NOTIFICATION_FROM": "AstroBookings <no-reply@astrobookings.example>",
        "NOTIFICATION_SMTP_HOST": "127.0.0.1",
        "NOTIFICATION_SMTP_PORT": str(taken.smtp_port),
        "NOTIFICATION_SMTP_TLS": "none",
        **more,
    }
    return known | {f"ASTROCORE_{name}": value for name, value in own.items()}

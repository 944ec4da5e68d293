"""A worker that is told to end, while mails are on the wire: none is left in doubt, and none is left claimed."""

import asyncio
import signal

import pytest

from app.stores.connections import Stores
from tests.app.notifications.post import ask, make_template, states
from tests.faults.receivers import receiving
from tests.faults.workers import environment_of, until, wake, worker

pytestmark = pytest.mark.slow

MAILS = 300  # far more than go until a worker has noticed, within a second, that it is to end


@pytest.mark.parametrize("seconds", [0.2, 16.0])
async def test_a_worker_that_is_told_to_end_answers_for_every_mail(
    stores: Stores, stores_environment: dict[str, str], seconds: float
) -> None:
    await make_template(stores)
    await ask(stores, *(f"p{number}@example.com" for number in range(MAILS)))
    with receiving() as taken:
        taken.seconds = seconds
        wake(stores.settings)
        with worker(environment_of(stores.settings, stores_environment, taken)) as process:
            await until(lambda: taken.by_smtp.total() >= 8)
            process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(process.wait, 40)
        found = await states(stores)
        assert taken.by_smtp.total() == found["sent"] < MAILS
        assert "unknown" not in found
        assert not await stores.core.fetchval(
            "SELECT count(*) FROM notifications WHERE claimed_by IS NOT NULL"
        )

"""A worker that starts at a bad moment is a worker all the same."""

import time
from collections.abc import Iterator

import httpx
import pytest

from tests.faults.victims import Victims
from tests.stories.conftest import System, running_system

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

# The supervisor waits twice as long before each further start: ten seconds after the last of so many kills.
KILLS = 7


@pytest.fixture
def system() -> Iterator[System]:
    with running_system() as running:
        yield running


def test_a_worker_that_starts_while_postgresql_is_away_works_once_it_is_back(system: System) -> None:
    system.cli("seed", "--bookings", "500", "--drift", "0")
    victims = Victims(system.data_dir)
    for _ in range(KILLS):
        fallen = victims.kill("postgresql")
    # It boots, and looks for PostgreSQL, before that is there again.
    victims.await_restart(victims.kill("worker"))
    victims.await_restart(fallen)
    wait_until_ready(system)
    run = system.api.post("/v1/reconciliation/runs", json={"entity": "customers"}).json()
    assert system.follow(run["id"])["status"] == "done"


def wait_until_ready(system: System) -> None:
    deadline = time.monotonic() + 60
    while system.api.get("/health/ready", auth=None).status_code != httpx.codes.OK:
        assert time.monotonic() < deadline
        time.sleep(0.2)

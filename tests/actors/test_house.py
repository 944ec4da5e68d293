"""House rules of the actors: what every one must state, and that every queue has a worker."""

from pathlib import Path

import pytest

import app
from app.scheduling import cron
from tests.actors.conftest import declared_actors


@pytest.fixture(scope="module")
def actors(stores_environment):
    return declared_actors(stores_environment)


def test_every_actor_states_its_queue_retries_and_time_limit(actors) -> None:
    for actor in actors:
        assert actor["queue"] != "default", actor
        assert {"max_retries", "time_limit"} <= set(actor["options"]), actor


def test_every_periodic_actor_has_a_spec_that_can_be_kept_and_a_catch_up_policy(actors) -> None:
    periodic = [actor for actor in actors if "periodic" in actor["options"]]
    assert {actor["name"] for actor in periodic} == {
        "run_full",
        "run_incremental",
        "run_invariants",
        "sweep",
        "forget_old",
        "seal_entries",
        "archive_entries",
        "verify_entries",
        "trim_logs",
        "deliver_mails",
        "watch",
        "resume_ticks",
        "erase_old_mails",
        "trim_accounts",
    }
    for actor in periodic:
        cron.parse(actor["options"]["periodic"])
        assert actor["options"]["catch_up"] in {"fire_once", "fire_all", "skip"}


def test_the_procfile_has_one_line_per_role_and_its_worker_takes_every_queue() -> None:
    lines = Path(app.__file__).parent.parent.joinpath("Procfile").read_text().splitlines()
    roles = dict(line.split(": ", 1) for line in lines if line)
    assert set(roles) == {"web", "worker", "scheduler"}
    assert " -Q" not in roles["worker"]
    assert "--queues" not in roles["worker"]

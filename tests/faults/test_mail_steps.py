"""A worker dies, or freezes, with mails at every step of their way out: each goes once, or is parked and went once at most.

By hand, more of them: `MAILS=1000 pytest -m slow tests/faults/test_mail_steps.py`
"""

import asyncio
import os
import signal
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import pytest
import trustme

from app.stores.connections import Stores
from tests.app.notifications.post import ask, let_claims_run_out, make_template
from tests.faults.receivers import HTTP_STEPS, SMTP_STEPS, Stop, Taken, receiving
from tests.faults.workers import environment_of, kill, signal_all, until, wake, worker

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PER_STEP = 4
ROUNDS = -(-int(os.environ.get("MAILS", "200")) // (PER_STEP * len(SMTP_STEPS + HTTP_STEPS)))

# Before the provider can have the mail.
BEFORE = ("never", "connect", "EHLO", "MAIL", "RCPT", "DATA")
OPEN = "SELECT count(*) FROM notifications WHERE state IN ('scheduled', 'pending', 'sending')"
BLOCKED = """
    SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE $1
"""
ACTIVE = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' AND query LIKE $1"
NEW_ATTEMPTS = "LOCK TABLE notification_attempts IN SHARE MODE"
ATTEMPTS = "SELECT FROM notification_attempts FOR UPDATE"
# Of what a frozen worker keeps locked, claims run out too, but nobody gets at it.
RUN_OUT = """
    UPDATE notifications SET next_at = now() - interval '1 minute', claimed_until = now() - interval '1 minute'
    WHERE id IN (SELECT id FROM notifications WHERE claimed_by IS NOT NULL FOR UPDATE SKIP LOCKED)
"""
CLAIM, MARK, SETTLE = "%WITH claimed AS%", "%), written AS (%", "%WHERE id = ANY($1) ORDER BY id FOR UPDATE%"

# How a mail has to end that was at a step: its state, and how often it was taken.
Ends = Mapping[str, tuple[str, int]]
ONCE: Ends = dict.fromkeys(("before", *SMTP_STEPS, *HTTP_STEPS), ("sent", 1))
ANSWERED: Ends = ONCE | {"half": ("unknown", 0)}
PARKED: Ends = {
    "before": ("sent", 1),
    "half": ("unknown", 0),
    **dict.fromkeys(("dot", "read", "taken", "answered"), ("unknown", 1)),
}
"""For a service that does not dedupe: of a worker that is dead. `ANSWERED`: of one that lived on."""

# Transport, step, state, and how often it was taken.
Account = tuple[str, str, str, int]


@dataclass
class House:
    """Both services, a template, and with what a worker is started; the mails that were held, and where."""

    stores: Stores
    taken: Taken
    environment: dict[str, str]
    stops: dict[str, list[Stop]] = field(default_factory=lambda: {"smtp": [], "http": []})

    async def ask(self, smtp: Sequence[str], http: Sequence[str]) -> list[Stop]:
        """Ask for a mail for each of these steps, at which the next connections will be held."""
        new = {"smtp": [Stop(each) for each in smtp], "http": [Stop(each) for each in http]}
        self.taken.smtp_stops += new["smtp"]
        self.taken.http_stops += new["http"]
        for transport, stops in new.items():
            before = len(self.stops[transport])
            self.stops[transport] += stops
            names = [f"{transport}{before + number}@example.com" for number in range(len(stops))]
            if names:
                await ask(self.stores, *names, transport=transport)
        return new["smtp"] + new["http"]

    async def until_reached(self, stops: Sequence[Stop]) -> None:
        wake(self.stores.settings)
        await until(lambda: all(each.reached for each in stops))

    async def until_blocked(self, statement: str, number: int = 1) -> None:
        """Wait until at least so many of these statements wait for a lock."""
        await until(lambda: self._count_blocked(statement, number))

    async def until_ended(self, statement: str) -> None:
        """Wait until the database has done what a dead worker had asked it for, or has given that up."""
        await until(lambda: self._is(ACTIVE, 0, statement))

    async def _count_blocked(self, statement: str, number: int) -> bool:
        found: int = await self.stores.core.fetchval(BLOCKED, statement)
        return found >= number

    async def until_none_is_open(self) -> None:
        """Have what is due delivered, that of the dead too."""
        await let_claims_run_out(self.stores)
        wake(self.stores.settings)
        await until(lambda: self._is(OPEN, 0))

    async def marked(self) -> int:
        """How many mails are written down as about to go."""
        marks = "SELECT count(*) FROM notification_attempts WHERE handed_at IS NOT NULL"
        found: int = await self.stores.core.fetchval(marks)
        return found

    async def _is(self, query: str, number: int, *values: Any) -> bool:
        found: int = await self.stores.core.fetchval(query, *values)
        return found == number

    @asynccontextmanager
    async def lock(self, statement: str, *values: Any) -> AsyncIterator[None]:
        """Hold a lock of the core DB around a block."""
        connection = await asyncpg.connect(self.stores.settings.url("core_database_url"))
        try:
            await connection.execute("BEGIN")
            await connection.fetch(statement, *values)
            yield
        finally:
            await connection.close()

    @asynccontextmanager
    async def unsettled(self, stops: Sequence[Stop]) -> AsyncIterator[None]:
        """The services' answers arrive, and cannot be written down."""
        answered = [each for each in stops if each.step == "answered"]
        names = [each.mail for each in answered]
        rows = "SELECT FROM notifications WHERE id::text = ANY($1) OR email = ANY($1) FOR UPDATE"
        async with self.lock(rows, names):
            let_pass(answered)
            await self.until_blocked(SETTLE, 2)
            yield

    async def until_accounted(self, *, without: str = "", smtp: Ends, http: Ends) -> None:
        """Wait until all mails have come to what they have to, but for those that were at one step."""
        wanted, found = self._wanted({"smtp": smtp, "http": http}), Counter[Account]()

        async def is_so() -> bool:
            nonlocal found
            found = await self.account()
            return all(found[each] == wanted[each] for each in found | wanted if each[1] != without)

        with suppress(AssertionError):
            await until(is_so)
        assert {each: found[each] for each in found if each[1] != without} == {
            each: wanted[each] for each in wanted if each[1] != without
        }

    async def account(self) -> Counter[Account]:
        """How many mails have come to what."""
        steps = {
            each.mail: each.step for stops in self.stops.values() for each in stops if each.step not in BEFORE
        }
        rows = await self.stores.core.fetch("SELECT id::text, email, transport, state FROM notifications")
        taken = {"smtp": self.taken.by_smtp, "http": self.taken.by_http}
        return Counter(
            (
                row["transport"],
                steps.get(row["id"]) or steps.get(row["email"]) or "before",
                row["state"],
                taken[row["transport"]][row["email"]],
            )
            for row in rows
        )

    def _wanted(self, ends: Mapping[str, Ends]) -> Counter[Account]:
        return Counter(
            (transport, step, *ends[transport][step])
            for transport, stops in self.stops.items()
            for step in ("before" if each.step in BEFORE else each.step for each in stops)
        )


def let_pass(stops: Sequence[Stop]) -> None:
    for each in stops:
        each.passed = True


@contextmanager
def house(
    stores: Stores, known: dict[str, str], *, dedupes: bool = True, patience: float = 30, **more: str
) -> Iterator[House]:
    authority = trustme.CA()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    with receiving(seconds=0, dedupes=dedupes, tls=tls) as taken, authority.cert_pem.tempfile() as trusted:
        environment = environment_of(
            stores.settings,
            known,
            taken,
            NOTIFICATION_HTTP_URL=f"https://127.0.0.1:{taken.http_port}/send",
            NOTIFICATION_HTTP_DEDUPES=str(dedupes),
            NOTIFICATION_CONNECTIONS="100",
            NOTIFICATION_PER_SECOND="1000",
            NOTIFICATION_TIMEOUT_SECONDS=str(patience),
            **more,
        )
        yield House(stores, taken, environment | {"SSL_CERT_FILE": trusted})


def every(steps: Sequence[str], number: int = PER_STEP) -> list[str]:
    return [each for each in steps for _ in range(number)]


@pytest.mark.parametrize("dedupes", [True, False])
async def test_mails_of_a_worker_that_dies_at_any_step_go_once_or_are_parked(
    stores: Stores, stores_environment: dict[str, str], dedupes: bool
) -> None:
    await make_template(stores)
    with house(stores, stores_environment, dedupes=dedupes) as it:
        for _ in range(ROUNDS):
            stops = await it.ask(every(SMTP_STEPS), every(HTTP_STEPS))
            with worker(it.environment) as process:
                await it.until_reached(stops)
                async with it.unsettled(stops):
                    await kill(process)
            let_pass(stops)  # what the services have by now they take, though nobody hears of it
        with worker(it.environment):
            await it.until_none_is_open()
            await it.until_accounted(smtp=PARKED, http=ONCE if dedupes else PARKED)
        # What may have arrived was asked for once more, under the same key, or not at all.
        posts = {"connect": 1, "half": int(dedupes)} | dict.fromkeys(HTTP_STEPS[2:], 1 + dedupes)
        assert it.taken.posted.total() == ROUNDS * PER_STEP * sum(posts.values())


async def test_mails_of_a_worker_that_dies_while_it_claims_them_go_once(
    stores: Stores, stores_environment: dict[str, str]
) -> None:
    await make_template(stores)
    with house(stores, stores_environment, dedupes=False) as it:
        await it.ask(every(["never"]), every(["never"]))
        with worker(it.environment) as process:
            async with it.lock(NEW_ATTEMPTS):
                wake(stores.settings)
                await it.until_blocked(CLAIM, 2)
                await kill(process)
        with worker(it.environment):
            await it.until_none_is_open()
            await it.until_accounted(smtp=PARKED, http=PARKED)
        # The dead worker had never had them.
        assert await stores.core.fetchval("SELECT max(number) FROM notification_attempts") == 1


@pytest.mark.parametrize("written", [False, True])
async def test_mails_of_a_worker_that_dies_while_it_marks_them_go_once_unless_the_mark_is_there(
    stores: Stores, stores_environment: dict[str, str], written: bool
) -> None:
    await make_template(stores)
    with house(stores, stores_environment, dedupes=False, STORE_TIMEOUT_SECONDS="3") as it:
        stops = await it.ask(every(["RCPT"]), [] if written else every(["connect"]))
        with worker(it.environment) as process:
            await it.until_reached(stops)
            async with it.lock(ATTEMPTS):
                let_pass(stops)
                await it.until_blocked(MARK)
                await kill(process)
                if not written:
                    await it.until_ended(MARK)  # given up, for the lock is there still
        await it.until_ended(MARK)
        marked = await it.marked()
        assert bool(marked) is written
        with worker(it.environment):
            await it.until_none_is_open()
            if not written:
                await it.until_accounted(smtp=PARKED, http=PARKED)
        found = await it.account()
        assert found["smtp", "before", "unknown", 0] == marked
        assert found["smtp", "before", "sent", 1] == PER_STEP - marked


@asynccontextmanager
async def frozen_and_going_on(it: House, *, http: Ends, seconds: float = 0) -> AsyncIterator[None]:
    """A worker that was frozen with mails at every step, and goes on when another one has seen to them."""
    stops = await it.ask(every(SMTP_STEPS), every(HTTP_STEPS))
    with worker(it.environment) as frozen:
        await it.until_reached(stops)
        async with it.unsettled(stops):
            signal_all(frozen, signal.SIGSTOP)
        await it.stores.core.execute(RUN_OUT)
        with worker(it.environment):
            wake(it.stores.settings)
            let_pass([each for each in stops if each.step not in BEFORE])
            # Some of those that were answered it keeps locked.
            await it.until_accounted(without="answered", smtp=PARKED, http=http)
        await asyncio.sleep(seconds)
        signal_all(frozen, signal.SIGCONT)
        let_pass(stops)
        await until(lambda: all(each.over for each in stops))
        await it.until_none_is_open()
        yield


@pytest.mark.parametrize("dedupes", [True, False])
async def test_mails_of_a_worker_that_freezes_at_any_step_for_longer_than_its_claims_go_once(
    stores: Stores, stores_environment: dict[str, str], dedupes: bool
) -> None:
    await make_template(stores)
    with house(stores, stores_environment, dedupes=dedupes) as it:
        async with frozen_and_going_on(it, http=ONCE if dedupes else PARKED):
            # What was parked meanwhile is settled by the answers, which it reads in the end.
            await it.until_accounted(smtp=ONCE, http=ONCE if dedupes else ANSWERED)


async def test_mails_of_a_worker_whose_patience_is_over_when_it_goes_on_go_once_or_are_parked(
    stores: Stores, stores_environment: dict[str, str]
) -> None:
    await make_template(stores)
    with house(stores, stores_environment, dedupes=False, patience=3) as it:
        async with frozen_and_going_on(it, http=PARKED, seconds=3):
            for _, step, state, taken in await it.account():
                assert state in ("sent", PARKED[step][0])
                assert taken == PARKED[step][1] >= (state == "sent")


@pytest.mark.parametrize(("transport", "dedupes"), [("smtp", False), ("http", False), ("http", True)])
async def test_mails_of_a_worker_that_freezes_between_the_mark_and_the_wire_go_once(
    stores: Stores, stores_environment: dict[str, str], transport: str, dedupes: bool
) -> None:
    await make_template(stores)
    with house(stores, stores_environment, dedupes=dedupes) as it:
        stops = await it.ask(*((every(["RCPT"]), []) if transport == "smtp" else ([], every(["connect"]))))
        with worker(it.environment) as frozen:
            await it.until_reached(stops)
            async with it.lock(ATTEMPTS):
                let_pass(stops)
                await it.until_blocked(MARK)
                signal_all(frozen, signal.SIGSTOP)
            await until(it.marked)
            marked = await it.marked()
            with worker(it.environment):
                await it.until_none_is_open()
                found, parked = await it.account(), 0 if dedupes else marked
                assert found[transport, "before", "unknown", 0] == parked
                assert found[transport, "before", "sent", 1] == PER_STEP - parked
                signal_all(frozen, signal.SIGCONT)
                await until(lambda: all(each.over for each in stops))
                await it.until_accounted(smtp=ONCE, http=ONCE)

"""Handing mails over to the provider: claim what is due, hand it over, write down how that ended.

A mail is written down as handed over before the provider can have it, and what came of it as soon as it is known; many at
once share a commit. So a crash leaves at most the mails in doubt that were on the wire at that moment.
"""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import asyncpg
from loguru import logger
from msgspec import Struct

from app.clock import Clock, now
from app.notifications import circuits, ledger
from app.notifications.backoff import next_try
from app.notifications.claiming import BY, Claim, claim, next_due
from app.notifications.ledger import Move
from app.notifications.letters import Letters
from app.notifications.pacing import Pace
from app.notifications.rendering import RenderingError
from app.notifications.states import State
from app.notifications.suppressing import suppress_bounced
from app.notifications.together import Together
from app.notifications.transports.transport import Accepted, Handed, Mail, Refused, Retry, Transport, Unknown
from app.stores.connections import Stores

# A turn that is further off is left to a later round, and to others.
_PATIENCE_SECONDS = 5.0


class Ended(Struct, frozen=True):
    """How an attempt ended. None: the mail was not handed over, and comes again at `again_at`."""

    claim: Claim
    handed: Handed | None
    again_at: datetime | None = None


Marks = Together[tuple[Claim, Mail], bool]
Ends = Together[Ended, None]


@dataclass(frozen=True)
class PostRoom:
    """Delivers with these transports, so many mails at once."""

    stores: Stores
    transports: Mapping[str, Transport]
    letters: Letters
    pace: Pace
    per_second: float
    at_once: int
    clock: Clock = now
    draw: Callable[[], float] = field(default=random.random)

    async def run_due(self) -> float | None:
        """Deliver until nothing is due; answers in how many seconds something will be, None where nothing waits."""
        async with Together(self._mark) as marks, Together(self._settle) as ends:
            await self._work_off(marks, ends)
        due = await next_due(self.stores.core, list(self.transports))
        return None if due is None else (due - self.clock()).total_seconds()

    async def _work_off(self, marks: Marks, ends: Ends) -> None:
        dedupes = {name: each.dedupes for name, each in self.transports.items()}
        working: set[asyncio.Task[None]] = set()
        try:
            while True:
                free = self.at_once - len(working)
                claimed = await claim(self.stores.core, dedupes, free, self.clock())
                working |= {asyncio.create_task(self._deliver(each, marks, ends)) for each in claimed.claims}
                if not working and claimed.looked_at < free:
                    return
                if not working:
                    continue
                done, working = await asyncio.wait(working, return_when=asyncio.FIRST_COMPLETED)
                for each in done:
                    each.result()
        finally:
            for each in working:
                each.cancel()
            await asyncio.gather(*working, return_exceptions=True)

    async def _deliver(self, claimed: Claim, marks: Marks, ends: Ends) -> None:
        try:
            mail = await self.letters.write(claimed)
        except RenderingError as error:
            faults = "; ".join(f"{each.where}: {each.message}" for each in error.faults)
            await ends.add(Ended(claimed, Refused("template", faults[:500])))
            return
        await ends.add(await self._hand_over(claimed, mail, marks))

    async def _hand_over(self, claimed: Claim, mail: Mail, marks: Marks) -> Ended:
        name, core = claimed.row["transport"], self.stores.core
        admission = await circuits.admit(core, name)
        wait = admission.wait
        handed: Handed | None = None

        async def about_to() -> None:
            if not await marks.add((claimed, mail)):
                raise ClaimLostError("somebody else has claimed the mail meanwhile")

        try:
            if not wait:
                wait = await self.pace.take(name, self.per_second, patience=_PATIENCE_SECONDS)
                if wait <= _PATIENCE_SECONDS:
                    await asyncio.sleep(wait)
                    handed = await self.transports[name].hand_over(mail, about_to=about_to)
        finally:
            await circuits.settle(core, name, admission, handed)
        return Ended(claimed, handed, _later(self.clock(), wait) if handed is None else None)

    async def _mark(self, handed: Sequence[tuple[Claim, Mail]]) -> list[bool]:
        """Write down that these are about to be handed over, and what they say; false where one is not ours any more."""
        shown = [letter if self.letters.is_shown(each) else None for each, letter in handed]
        rows = await self.stores.core.fetch(
            _MARK,
            [each.id for each, _ in handed],
            [each.holder for each, _ in handed],
            [each.number for each, _ in handed],
            [each.subject if each else None for each in shown],
            [each.text if each else None for each in shown],
            [each.html if each else None for each in shown],
            self.clock(),
        )
        marked = {row["notification_id"] for row in rows}
        return [each.id in marked for each, _ in handed]

    async def _settle(self, ends: Sequence[Ended]) -> list[None]:
        """Write down how these attempts ended, and what their mails come to."""
        moment = self.clock()
        async with self.stores.core.acquire() as connection, connection.transaction():
            rows = await ledger.lock(connection, [each.claim.id for each in ends])
            known = [(each, rows[each.claim.id]) for each in ends if each.claim.id in rows]
            steps = [(each, self._step(each, row, moment)) for each, row in known]
            await _end_attempts(connection, steps, moment)
            await ledger.move_all(
                connection, [step for _, step in steps if isinstance(step, Move)], by=BY, moment=moment
            )
            await _put_back(connection, [(each, step) for each, step in steps if isinstance(step, datetime)])
            await suppress_bounced(connection, [each.claim for each, _ in steps if _is_bounce(each)], moment)
        for each, step in steps:
            _log(each, step)
        return [None] * len(ends)

    def _step(self, ended: Ended, row: asyncpg.Record, moment: datetime) -> Move | datetime | None:
        """What a mail comes to: another state, another try at a time, or nothing where others have seen to it meanwhile."""
        before, ours = State(row["state"]), row["claimed_by"] == ended.claim.holder
        after = _STATES.get(type(ended.handed)) if ended.handed else None
        if after is State.SENT and before in (State.SENDING, State.UNKNOWN):
            return Move(row["id"], before, after, provider_id=_provider_id(ended.handed))
        if not ours or before is not State.SENDING:
            return None
        if after:
            return Move(row["id"], before, after, because=_because(ended.handed))
        if not isinstance(ended.handed, Retry):
            return ended.again_at or moment
        again = next_try(tries=row["tries"] + 1, now=moment, drawn=self.draw(), after=ended.handed.after)
        return again or Move(
            row["id"], before, State.FAILED, because=f"tried too often: {_because(ended.handed)}"
        )


class ClaimLostError(Exception):
    """Somebody else has claimed the mail: whoever had it took too long."""


_STATES: Mapping[type, State] = {Accepted: State.SENT, Refused: State.FAILED, Unknown: State.UNKNOWN}
_OUTCOMES: Mapping[type, str] = {Accepted: "accepted", Refused: "refused", Retry: "retry", Unknown: "unknown"}

_MARK = """
    WITH given AS (
        SELECT * FROM unnest($1::uuid[], $2::text[], $3::integer[], $4::text[], $5::text[], $6::text[])
            AS given (id, holder, number, subject, body_text, body_html)
    ), written AS (
        UPDATE notifications AS row SET subject = COALESCE(given.subject, row.subject),
            body_text = COALESCE(given.body_text, row.body_text), body_html = COALESCE(given.body_html, row.body_html)
        FROM given WHERE row.id = given.id AND claimed_by = holder RETURNING row.id
    ), marked AS (
        UPDATE notification_attempts AS attempt SET handed_at = $7 FROM given JOIN written USING (id)
        WHERE attempt.notification_id = given.id AND attempt.number = given.number RETURNING attempt.notification_id
    )
    SELECT notification_id FROM marked
"""
_END = """
    UPDATE notification_attempts AS attempt
    SET ended_at = $7, outcome = given.outcome, code = given.code, detail = given.detail, retry_at = given.retry_at
    FROM unnest($1::uuid[], $2::integer[], $3::text[], $4::text[], $5::text[], $6::timestamptz[])
        AS given (id, number, outcome, code, detail, retry_at)
    WHERE attempt.notification_id = given.id AND attempt.number = given.number AND attempt.ended_at IS NULL
"""


async def _end_attempts(
    connection: asyncpg.Connection, steps: Sequence[tuple[Ended, Move | datetime | None]], moment: datetime
) -> None:
    await connection.execute(
        _END,
        [each.claim.id for each, _ in steps],
        [each.claim.number for each, _ in steps],
        [_OUTCOMES[type(each.handed)] if each.handed else "abandoned" for each, _ in steps],
        [getattr(each.handed, "code", None) for each, _ in steps],
        [
            getattr(each.handed, "detail", None) if each.handed else "it was not the turn of this mail"
            for each, _ in steps
        ],
        [step if isinstance(step, datetime) else None for _, step in steps],
        moment,
    )


async def _put_back(connection: asyncpg.Connection, again: Sequence[tuple[Ended, datetime]]) -> None:
    """Let mails be claimed again from these times on."""
    await connection.execute(
        """
        UPDATE notifications AS row SET next_at = given.at, claimed_by = NULL, claimed_until = NULL, tries = tries + given.tries
        FROM unnest($1::uuid[], $2::timestamptz[], $3::integer[]) AS given (id, at, tries) WHERE row.id = given.id
        """,
        [each.claim.id for each, _ in again],
        [at for _, at in again],
        [int(isinstance(each.handed, Retry)) for each, _ in again],
    )


def _later(moment: datetime, seconds: float) -> datetime:
    return moment + timedelta(seconds=seconds)


def _is_bounce(ended: Ended) -> bool:
    return isinstance(ended.handed, Refused) and ended.handed.hard_bounce


def _provider_id(handed: Handed | None) -> str | None:
    return handed.provider_id if isinstance(handed, Accepted) else None


def _because(handed: Handed | None) -> str | None:
    """What the provider said, as an operator is shown it."""
    return (
        None if handed is None or isinstance(handed, Accepted) else f"{handed.code} {handed.detail}".strip()
    )


def _log(ended: Ended, step: Move | datetime | None) -> None:
    bound = logger.bind(
        notification=ended.claim.id, transport=ended.claim.row["transport"], number=ended.claim.number
    )
    if isinstance(step, Move):
        bound.bind(state=step.after.value).info("mail.settled")
    elif isinstance(ended.handed, Retry):
        bound.bind(code=ended.handed.code, again_at=step).warning("mail.delayed")

"""Writing down how far an attempt has come: that a mail is about to be handed over, and what came of it."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import asyncpg
from loguru import logger
from msgspec import Struct
from msgspec.structs import replace

from app.notifications.addresses.suppressing import suppress
from app.notifications.delivering.backoff import next_try
from app.notifications.delivering.claiming import BY, Claim
from app.notifications.delivering.transports.transport import (
    UNTRIED,
    UNWRITABLE,
    Accepted,
    Handed,
    Refused,
    Retry,
    Unknown,
    withheld,
)
from app.notifications.ledger import moving
from app.notifications.ledger.moving import Move
from app.notifications.ledger.states import State
from app.notifications.templates.rendering import Rendered


class About(Struct, frozen=True):
    """A mail that is about to be handed over; `shown` is what may be kept of it."""

    claim: Claim
    shown: Rendered | None


class Ended(Struct, frozen=True):
    """How an attempt ended. None: the mail was certainly not handed over, and comes again after so many seconds.

    Without any it keeps its place among those that are due.
    """

    claim: Claim
    handed: Handed | None
    again_in: float = 0.0


Step = Move | datetime | None
"""What a mail comes to: another state, another look at it at a time, or nothing where others have seen to it meanwhile."""

_STATES: dict[type, State] = {Accepted: State.SENT, Refused: State.FAILED, Unknown: State.UNKNOWN}
_OUTCOMES: dict[type, str] = {
    Accepted: "accepted",
    Refused: "refused",
    Retry: "retry",
    Unknown: "unknown",
    type(None): "abandoned",
}

_MARK = """
    WITH given AS (
        SELECT * FROM unnest($1::uuid[], $2::text[], $3::integer[], $4::text[], $5::text[], $6::text[])
            AS given (id, holder, number, subject, body_text, body_html)
    ), written AS (
        UPDATE notifications AS row SET subject = COALESCE(given.subject, row.subject),
            body_text = COALESCE(given.body_text, row.body_text), body_html = COALESCE(given.body_html, row.body_html)
        FROM given WHERE row.id = given.id AND claimed_by = holder AND email IS NOT NULL
            AND (not_after IS NULL OR not_after > $7)
            AND NOT EXISTS (SELECT FROM notification_templates WHERE name = row.template AND NOT enabled)
            AND NOT EXISTS (SELECT FROM suppressions WHERE email_key = row.email_key AND scope IN ('all', row.kind))
        RETURNING row.id
    )
    UPDATE notification_attempts AS attempt SET handed_at = $7 FROM given JOIN written USING (id)
    WHERE attempt.notification_id = given.id AND attempt.number = given.number RETURNING attempt.notification_id
"""
# A late answer tells more than that its process seemed to have died.
_END = """
    UPDATE notification_attempts AS attempt
    SET ended_at = $7, outcome = given.outcome, code = given.code, detail = given.detail, retry_at = given.retry_at
    FROM unnest($1::uuid[], $2::integer[], $3::text[], $4::text[], $5::text[], $6::timestamptz[])
        AS given (id, number, outcome, code, detail, retry_at)
    WHERE attempt.notification_id = given.id AND attempt.number = given.number
        AND (attempt.ended_at IS NULL OR attempt.outcome = 'abandoned')
"""
_PUT_BACK = """
    WITH given AS (SELECT * FROM unnest($1::uuid[], $2::integer[], $3::timestamptz[], $4::boolean[]) AS given (id, number, at, tried)),
    undone AS (
        DELETE FROM notification_attempts AS attempt USING given
        WHERE notification_id = given.id AND attempt.number = given.number AND NOT tried
    )
    UPDATE notifications AS row SET next_at = given.at, claimed_by = NULL, claimed_until = NULL,
        tries = tries + tried::int, attempts = attempts - (NOT tried)::int
    FROM given WHERE row.id = given.id AND state = 'sending'
"""
# What a callback that came before the answer did not know.
_NAME = """
    UPDATE notifications AS row SET provider_id = given.name FROM unnest($1::uuid[], $2::text[]) AS given (id, name)
    WHERE row.id = given.id AND provider_id IS NULL
"""


async def mark(core: asyncpg.Pool, about: Sequence[About], moment: datetime) -> list[bool]:
    """Write down that these are about to be handed over, and what they say.

    False where a mail must not go: somebody else has it, it was taken back, its time is over, or address or template are blocked.
    """
    shown = [each.shown for each in about]
    rows = await core.fetch(
        _MARK,
        [each.claim.id for each in about],
        [each.claim.holder for each in about],
        [each.claim.number for each in about],
        [each and each.subject for each in shown],
        [each and each.text for each in shown],
        [each and each.html for each in shown],
        moment,
    )
    marked = {row["notification_id"] for row in rows}
    return [each.claim.id in marked for each in about]


async def settle(
    core: asyncpg.Pool, ends: Sequence[Ended], moment: datetime, draw: Callable[[], float]
) -> None:
    """Write down how these attempts ended, and what their mails come to. To do it twice changes nothing."""
    async with core.acquire() as connection, connection.transaction():
        rows = await moving.lock(connection, [each.claim.id for each in ends])
        ends = [_of_nobody(each) if rows[each.claim.id]["email"] is None else each for each in ends]
        steps = [(each, step_of(each, rows[each.claim.id], moment, draw())) for each in ends]
        await _end_attempts(connection, steps, moment)
        moves = [step for _, step in steps if isinstance(step, Move)]
        await moving.move_all(connection, moves, by=BY, moment=moment)
        await _put_back(connection, [(each, step) for each, step in steps if isinstance(step, datetime)])
        await _name(connection, [each for each, step in steps if step is None])
        await _suppress(connection, [each.claim for each in ends if _is_bounce(each)], moment)
    for each, step in steps:
        _log(each, step)


def _of_nobody(ended: Ended) -> Ended:
    """Of a mail whose person was forgotten meanwhile no words of the provider are kept."""
    if ended.handed is None or ended.handed.detail is None:
        return ended
    return replace(ended, handed=replace(ended.handed, detail=withheld(ended.handed.detail)))


def step_of(ended: Ended, row: asyncpg.Record, moment: datetime, drawn: float) -> Step:
    """What a mail comes to whose row is like this now."""
    before, handed, claim = State(row["state"]), ended.handed, ended.claim
    after = _state_after(ended)
    ours = row["claimed_by"] == claim.holder
    # What the provider has said counts, however late: of what was in doubt, and for whoever would hand it over again.
    if after is State.SENT and before in (State.SENDING, State.UNKNOWN):
        return Move(row["id"], before, after, provider_id=_provider_id(handed))
    if after is State.FAILED and before is State.UNKNOWN and row["attempts"] == claim.number:
        return Move(row["id"], before, after, because=_because(handed))
    if not ours or before is not State.SENDING:
        return None
    if after:
        return Move(row["id"], before, after, because=_because(handed))
    if not isinstance(handed, Retry):
        return moment + timedelta(seconds=ended.again_in) if ended.again_in else claim.row["next_at"]
    again = next_try(tries=row["tries"] + 1, now=moment, drawn=drawn, after=handed.after)
    return again or _given_up(ended, handed, before)


def _state_after(ended: Ended) -> State | None:
    """What is turned down here says nothing of whether the provider has taken it before."""
    handed = ended.handed
    if isinstance(handed, Refused) and handed.code in (UNTRIED, UNWRITABLE) and ended.claim.row["doubtful"]:
        return State.UNKNOWN
    return _STATES.get(type(handed))


def _given_up(ended: Ended, handed: Retry, before: State) -> Move:
    doubtful = handed.doubtful or ended.claim.row["doubtful"]
    after = State.UNKNOWN if doubtful else State.FAILED
    return Move(ended.claim.id, before, after, because=f"tried too often: {_because(handed)}")


async def _end_attempts(
    connection: asyncpg.Connection, steps: Sequence[tuple[Ended, Step]], moment: datetime
) -> None:
    await connection.execute(
        _END,
        [each.claim.id for each, _ in steps],
        [each.claim.number for each, _ in steps],
        [_outcome(each.handed) for each, _ in steps],
        [getattr(each.handed, "code", None) for each, _ in steps],
        [getattr(each.handed, "detail", "it was taken back before it went") for each, _ in steps],
        [step if isinstance(step, datetime) else None for _, step in steps],
        moment,
    )


async def _put_back(connection: asyncpg.Connection, again: Sequence[tuple[Ended, datetime]]) -> None:
    """Let mails be claimed again from these times on. What was not handed over was no attempt."""
    if again:
        await connection.execute(
            _PUT_BACK,
            [each.claim.id for each, _ in again],
            [each.claim.number for each, _ in again],
            [at for _, at in again],
            [each.handed is not None for each, _ in again],
        )


async def _name(connection: asyncpg.Connection, ended: Sequence[Ended]) -> None:
    """Write down what the provider calls mails to which others have seen."""
    if names := {each.claim.id: name for each in ended if (name := _provider_id(each.handed))}:
        await connection.execute(_NAME, list(names), list(names.values()))


async def _suppress(connection: asyncpg.Connection, bounced: Sequence[Claim], moment: datetime) -> None:
    """Block the addresses that do not exist."""
    # In one order for everybody: two workers who block the same addresses wait for each other, not crosswise.
    for each in sorted(bounced, key=lambda each: each.row["email_key"] or ""):
        if key := each.row["email_key"]:
            await suppress(connection, key, "all", "hard_bounce", by=BY, moment=moment, notification=each.id)


def _outcome(handed: Handed | None) -> str:
    if isinstance(handed, Retry) and handed.doubtful:
        return "unknown"
    return _OUTCOMES[type(handed)]


def _is_bounce(ended: Ended) -> bool:
    return isinstance(ended.handed, Refused) and ended.handed.hard_bounce


def _provider_id(handed: Handed | None) -> str | None:
    return handed.provider_id if isinstance(handed, Accepted) else None


def _because(handed: Handed | None) -> str | None:
    """What the provider said, as an operator is shown it."""
    if handed is None or isinstance(handed, Accepted):
        return None
    return f"{handed.code} {handed.detail}".strip()


def _log(ended: Ended, step: Step) -> None:
    claim = ended.claim
    bound = logger.bind(notification=claim.id, transport=claim.row["transport"], number=claim.number)
    if isinstance(step, Move):
        bound.bind(state=step.after.value).info("mail.settled")
    elif isinstance(step, datetime) and isinstance(ended.handed, Retry):
        bound.bind(code=ended.handed.code, again_at=step).warning("mail.delayed")

"""Handing mails over to the provider: claim what is due, hand it over, write down how that ended.

A mail is written down as handed over before the provider can have it, and what came of it as soon as it is known; many at
once share a commit. So a crash leaves at most the mails in doubt that were on the wire at that moment.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from loguru import logger

from app.clock import Clock, now
from app.errors import StoreUnavailableError
from app.notifications.delivering import circuits, settling
from app.notifications.delivering.claiming import Claim, Claimed, claim, is_suspect, next_due
from app.notifications.delivering.letters import Letters, LockedError, UnwritableError
from app.notifications.delivering.pacing import Pace
from app.notifications.delivering.settling import About, Ended
from app.notifications.delivering.together import Together
from app.notifications.delivering.transports.transport import (
    UNTRIED,
    UNWRITABLE,
    Handed,
    Mail,
    MailUnfitError,
    Refused,
    Retry,
    Transport,
    Unknown,
    discreet,
)
from app.notifications.templates.rendering import Rendered
from app.stores.connections import Stores
from app.stores.health import FAULTS

# So often is looked for other mail while some is under way, for one that hangs must hold up no other.
_LOOK_SECONDS = 0.25
# A turn that is further off is left to a later round, and to others.
_PATIENCE_SECONDS = 60.0
# With that, and all that a hand-over may take, a claim is not over yet.
_PLACE_SECONDS = 30.0
# A database that is away for a moment leaves no answer of the provider unwritten.
_SETTLE_SECONDS, _SETTLE_AGAIN_SECONDS = 20.0, 0.5
# A circuit that another worker opens meanwhile is noticed so much later.
_WELL_SECONDS = 0.25
_AWAY_SECONDS = 2.0
# Nobody waits for it to be written down that a mail has gone, and many share the commit.
_TOGETHER_SECONDS = 0.02

Marks = Together[About, bool]
Ends = Together[Ended, None]


async def _is_right() -> None:
    """What keeps a clock right that needs nothing for it."""


@dataclass(frozen=True)
class PostRoom:
    """Delivers by one transport, so many mails at once. `keep_time` is awaited before `clock` tells what is due."""

    stores: Stores
    transport: Transport
    letters: Letters
    pace: Pace
    per_second: float
    at_once: int
    connections: int
    clock: Clock = now
    keep_time: Callable[[], Awaitable[None]] = _is_right
    draw: Callable[[], float] = field(default=random.random)

    async def run_due(self) -> float | None:
        """Deliver until nothing is due and nothing under way; answers in how many seconds something will be due.

        Not above zero: it is now. None: nothing waits. Cancelled, it ends what the provider may have already, and lets others
        have the rest. Raises what the stores' drivers do, and StoreUnavailableError.
        """
        async with Together(self._mark) as marks, Together(self._settle, _TOGETHER_SECONDS) as ends:
            return await Desk(self, marks, ends).work_off()

    async def _mark(self, about: Sequence[About]) -> list[bool]:
        return await settling.mark(self.stores.core, about, self.clock())

    async def _settle(self, ends: Sequence[Ended]) -> list[None]:
        patience = time.monotonic() + _SETTLE_SECONDS
        while True:
            try:
                await settling.settle(self.stores.core, ends, self.clock(), self.draw)
            except FAULTS:
                if time.monotonic() > patience:
                    raise
                await asyncio.sleep(_SETTLE_AGAIN_SECONDS)
            else:
                return [None] * len(ends)


class NotNowError(Exception):
    """The mail must not be handed over after all: somebody else has it, it was taken back, or its time is over."""


@dataclass(eq=False)
class _Job:
    """A mail on its way; once it is on the wire nobody may say that it has not gone. `over`: how it ended is being written down."""

    claim: Claim
    on_the_wire: bool = False
    over: bool = False
    given_up: bool = False
    admission: circuits.Admission | None = None


class Desk:
    """Hands over the mails of one transport."""

    def __init__(self, room: PostRoom, marks: Marks, ends: Ends) -> None:
        self._room = room
        self._transport = room.transport
        self._core = room.stores.core
        self._marks = marks
        self._ends = ends
        self._working: dict[asyncio.Task[None], _Job] = {}
        self._claiming: asyncio.Future[Claimed] | None = None
        self._places = asyncio.Semaphore(room.connections)
        self._rests_until = 0.0
        self._well_until = 0.0
        self._failing = False

    async def work_off(self) -> float | None:
        """See `PostRoom.run_due`."""
        async with (
            Together(self._take_turns) as self._turns,
            # No more than can go at once: the first ones go while the others are written.
            Together(self._room.letters.write, most=self._room.connections) as self._letters,
            Together(self._admit) as self._admissions,
        ):
            await self._work_off()
        due = await next_due(self._core, self._transport.name)
        return None if due is None else max((due - self._room.clock()).total_seconds(), self._rest())

    async def _work_off(self) -> None:
        try:
            while await self._claim_some():
                await self._until_half_are_free()
        finally:
            await asyncio.gather(self._wind_up(), self._put_back())

    def _rest(self) -> float:
        """For how many seconds no mail is to be taken up."""
        return max(0.0, self._rests_until - time.monotonic())

    def _pause(self, seconds: float) -> None:
        self._rests_until = max(self._rests_until, time.monotonic() + seconds)

    async def _claim_some(self) -> bool:
        """Begin with what is due, as far as there is room; answers whether there is anything to do."""
        free = self._room.at_once - len(self._working)
        if not free or self._rest():
            return bool(self._working)
        await self._room.keep_time()
        self._claiming = asyncio.ensure_future(
            claim(
                self._core,
                self._transport.name,
                free,
                dedupes=self._transport.dedupes,
                moment=self._room.clock(),
                suspects=not any(is_suspect(job.claim.row) for job in self._working.values()),
            )
        )
        claimed = await asyncio.shield(self._claiming)
        self._claiming = None
        for each in claimed.claims:
            job = _Job(each)
            self._working[asyncio.create_task(self._deliver(job))] = job
        return bool(claimed.looked_at or self._working)

    async def _until_half_are_free(self) -> None:
        """Wait for that, and for one that has ended at least; but not for long."""
        until = time.monotonic() + _LOOK_SECONDS
        while self._working and (left := until - time.monotonic()) > 0:
            done, _ = await asyncio.wait(self._working, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                del self._working[each]
                each.result()
            if done and len(self._working) <= self._room.at_once // 2:
                return

    async def _wind_up(self) -> None:
        for task, job in self._working.items():
            if not job.on_the_wire and not job.over:
                task.cancel()
        await asyncio.gather(*self._working, return_exceptions=True)

    async def _put_back(self) -> None:
        """Let others have what was just being claimed: it may be committed whoever has stopped waiting for that."""
        if self._claiming is not None:
            (claimed,) = await asyncio.gather(self._claiming, return_exceptions=True)
            claims = claimed.claims if isinstance(claimed, Claimed) else ()
            ends = (self._ends.add(Ended(each, None)) for each in claims)
            await asyncio.gather(*ends, return_exceptions=True)

    async def _deliver(self, job: _Job) -> None:
        again_in, handed = 0.0, None
        try:
            handed, again_in = await self._attempt(job)
        except asyncio.CancelledError:
            if job.on_the_wire:
                raise  # found once the claim has run out
            job.given_up = True
            await self._leave_trial(job)
        except NotNowError:
            pass  # looked at once more: that tells why
        except Exception as error:  # noqa: BLE001  (one mail must not hold up the others)
            handed = self._unexpected(job, error)
            again_in = self._rest()
        job.over = True
        await self._ends.add(Ended(job.claim, handed, again_in))

    def _unexpected(self, job: _Job, error: Exception) -> Handed | None:
        """What becomes of a mail that met an error which no transport tells."""
        if isinstance(error, (StoreUnavailableError, *FAULTS)) and not job.on_the_wire:
            self._pause(_AWAY_SECONDS)
            return None
        if isinstance(error, UnwritableError):
            return Refused(UNWRITABLE, str(error))
        if isinstance(error, MailUnfitError):
            return Refused(UNTRIED, str(error))
        if isinstance(error, LockedError):
            return Retry("locked", str(error), of_service=False)
        name = type(error).__name__
        logger.bind(notification=job.claim.id, error=name).error("mail.stumbled")
        if job.on_the_wire and not self._transport.dedupes:
            return Unknown("unexpected", name)
        return Retry("unexpected", name, of_service=False, doubtful=job.on_the_wire)

    async def _attempt(self, job: _Job) -> tuple[Handed | None, float]:
        """How the hand-over ended; None, and seconds, where it has to wait for so long."""
        wait = await self._turns.add(job)
        if wait > _PATIENCE_SECONDS:
            self._pause(wait)
            return None, wait
        if wait:
            await asyncio.sleep(wait)
        mail = await self._letters.add(job.claim)
        composed = self._transport.compose(mail)  # before there is a place: no connection waits for that
        if not await self._found_place():
            return None, 0.0
        try:
            return await self._placed(job, mail, composed)
        finally:
            self._places.release()

    async def _found_place(self) -> bool:
        """Wait for a free connection, before the circuit is asked: how long that takes says nothing of the service."""
        try:
            async with asyncio.timeout(_PLACE_SECONDS):
                return await self._places.acquire()
        except TimeoutError:
            return False

    async def _placed(self, job: _Job, mail: Mail, composed: Any) -> tuple[Handed | None, float]:
        admission = await self._admissions.add(job)
        if admission.wait:
            self._pause(min(admission.wait, circuits.LOOK_AGAIN_SECONDS))
            return None, admission.wait
        shown = self._room.letters.shown(job.claim, mail)
        return await self._admitted(job, composed, shown, admission), 0.0

    async def _take_turns(self, jobs: Sequence[_Job]) -> Sequence[float]:
        return await self._room.pace.take(
            self._transport.name, len(jobs), self._room.per_second, patience=_PATIENCE_SECONDS
        )

    async def _admit(self, jobs: Sequence[_Job]) -> list[circuits.Admission]:
        """Ask the circuit once for all, and not again for a moment where all is well; where it wants a trial, the first one is it."""
        if time.monotonic() < self._well_until:
            return [circuits.Admission()] * len(jobs)
        first = jobs[0].admission = await circuits.admit(self._core, self._transport.name)
        if jobs[0].given_up:
            await self._leave_trial(jobs[0])
        if first.well:
            self._well_until = time.monotonic() + _WELL_SECONDS
        others = circuits.Admission(wait=circuits.LOOK_AGAIN_SECONDS) if first.trial else first
        return [first, *([others] * (len(jobs) - 1))]

    async def _leave_trial(self, job: _Job) -> None:
        """Whoever was let in to try, and does not come to it, leaves that to the next."""
        if job.admission and job.admission.trial:
            with suppress(*FAULTS):
                await circuits.settle(self._core, self._transport.name, job.admission, None)

    async def _admitted(
        self, job: _Job, composed: Any, shown: Rendered | None, admission: circuits.Admission
    ) -> Handed:
        handed: Handed | None = None

        async def about_to() -> None:
            if not await self._marks.add(About(job.claim, shown)):
                raise NotNowError
            job.on_the_wire = True

        try:
            handed = await self._transport.hand_over(composed, about_to=about_to)
            handed = handed if shown else discreet(handed)
        finally:
            # What is known of the mail counts for more than what is known of the service.
            with suppress(*FAULTS):
                await self._tell_circuit(admission, handed)
        return handed

    async def _tell_circuit(self, admission: circuits.Admission, handed: Handed | None) -> None:
        if circuits.is_failure(handed):
            self._failing, self._well_until = True, 0.0
        failing = self._failing
        await circuits.settle(self._core, self._transport.name, admission, handed, failing=failing)
        if failing and handed is not None and not circuits.is_failure(handed):
            self._failing = False

"""One schedule: owners write, events arrive, operators decide, repairers take turns, die and are followed by others."""

import random
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from uuid import UUID

from app.audit.entries import IntentEntry
from app.errors import StoreUnavailableError
from app.reconciliation.deciding.inverse import Refused
from app.reconciliation.deciding.undoing import Result, Undone
from tests.app.reconciliation.model.stores import AWAY, LATE, LOST, PARTLY
from tests.app.reconciliation.model.turns import Actor, KilledError, kill, start, step
from tests.app.reconciliation.model.world import World

_ACTORS = 3
_LONGEST_DRAIN = 400
_SHARE_OF_DEATHS = 0.02


async def play(rng: random.Random, steps: int) -> World:
    """A world after `steps` steps of anything, and after everything has come to rest."""
    world = World(rng)
    world.seed()
    actors: list[Actor] = []
    try:
        for _ in range(steps):
            await _anything(world, actors)
        await _finish(world, actors)
        await drain(world)
    finally:
        for actor in actors:
            await kill(actor)
    world.check_ended()
    return world


async def _anything(world: World, actors: list[Actor]) -> None:
    actors[:] = [each for each in actors if not each.is_over]
    match world.rng.choices(
        ("turn", "owner", "event", "time", "start", "kill", "operator", "late", "sweep"),
        (60, 12, 8, 6, 6, 1.5, 1.5, 2, 1),
    )[0]:
        case "turn" if actors:
            await step(world.rng.choice(actors), _fault(world.rng))
        case "owner":
            world.owner_writes()
        case "event":
            world.delivers_event()
        case "time":
            world.clock.advance(world.rng.choice((0.05, 0.3, 0.3, 1, 4, 30)))
        case "start" if len(actors) < _ACTORS:
            actors.append(await start("repairer", _repair(world)))
        case "kill" if actors:
            await kill(world.rng.choice(actors))
        case "operator":
            world.operator_acts()
        case "late":
            world.late_writes_land()
        case "sweep":
            world.sweep_nominates()


def _fault(rng: random.Random) -> str:
    return rng.choices(("", AWAY, LOST, LATE, PARTLY), (95, 1, 2, 1, 1))[0]


async def _repair(world: World) -> None:
    with suppress(StoreUnavailableError, KilledError):
        await world.repairer().run_due()


async def _finish(world: World, actors: list[Actor]) -> None:
    """Traffic stops: whoever is at work ends it or dies, and every event that is still under way arrives."""
    for actor in actors:
        while not actor.is_over:
            if world.rng.random() < 0.01:
                await kill(actor)
            await step(actor)
    world.late_writes_land()
    while world.events:
        world.delivers_event()


async def drain(world: World) -> None:
    """Repair until nothing is suspect."""
    world.check_agreements()
    world.clock.advance(timedelta(minutes=1).total_seconds())
    world.full_run_nominates()
    for _ in range(_LONGEST_DRAIN):
        world.sweep_nominates()
        due = await world.repairer().run_due()
        if due is None and not world.work.rows:
            return
        world.clock.advance(max(due or 0, 0.3) + 0.01)


async def play_undo(rng: random.Random, drift: int) -> World:
    """A world whose every repair is taken back, by undoers that die and are followed by others; then repaired on."""
    world = World(rng)
    world.seed()
    for _ in range(drift):
        world.owner_writes()
    world.events.clear()
    before = world.held()
    await drain(world)
    world.check_ended()
    changes = [each.intent for each in world.audit.all_changes()][::-1]
    for batch in _batches(changes):
        await _undo(world, batch)
    world.check_same(before)
    for entity, key in {(each.entity, each.key) for each in changes}:
        world.work.holds[entity, key] = "undone"
    await drain(world)
    world.check_held_are_same(before)
    return world


def _batches(changes: Sequence[IntentEntry]) -> list[list[IntentEntry]]:
    """In their order, each of one entity and of records that differ."""
    batches: list[list[IntentEntry]] = [[]]
    for each in changes:
        last = batches[-1]
        if last and (each.entity != last[0].entity or each.key in {other.key for other in last}):
            batches.append([])
        batches[-1].append(each)
    return batches


async def _undo(world: World, batch: list[IntentEntry]) -> None:
    """Until each change is taken back, whoever dies on the way."""
    for _ in range(_LONGEST_DRAIN):
        results: dict[UUID, Result] = {}
        actor = await start("undoer", _undo_once(world, batch, results))
        while not actor.is_over:
            if world.rng.random() < _SHARE_OF_DEATHS:
                await kill(actor)
            await step(actor, _fault(world.rng))
        world.clock.advance(world.rng.choice((0.1, 8)))
        world.late_writes_land()
        if len(results) == len(batch) and all(isinstance(each, Undone) for each in results.values()):
            return
        refused = [each for each in results.values() if isinstance(each, Refused)]
        assert not refused, refused
    raise AssertionError(f"not undone: {results}")


async def _undo_once(world: World, batch: list[IntentEntry], results: dict[UUID, Result]) -> None:
    with suppress(StoreUnavailableError, KilledError):
        results |= await world.undoer().undo(batch)

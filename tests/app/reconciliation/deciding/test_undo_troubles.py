"""Undo where workers die, stores do not answer and others write, against real stores."""

from dataclasses import replace
from uuid import UUID

import pytest

from app.reconciliation.deciding import undo
from app.reconciliation.ledger.views import UndoView
from app.stores.connections import Stores
from tests.app.reconciliation.deciding.undo_steps import applied, audit_of, refusals, repaired_city
from tests.app.reconciliation.worlds import row_of


class KilledError(BaseException):
    """Stands for a worker that dies here."""


class Dying:
    """A side whose writer dies just before or just after its write took effect."""

    def __init__(self, side, *, after: bool) -> None:
        self._side = side
        self._after = after

    def __getattr__(self, name: str):
        return getattr(self._side, name)

    async def write(self, *arguments, **options):
        if self._after:
            await self._side.write(*arguments, **options)
        raise KilledError


@pytest.mark.parametrize("after", [True, False])
async def test_an_undo_whose_worker_died_is_finished_by_the_next_one_and_written_once(
    repairing: Stores, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    ada = await repaired_city(repairing)
    started = await undo.start(repairing, change_ids=await applied(repairing), by="test", reason="no")
    brief = replace(repairing, settings=repairing.settings.model_copy(update={"store_timeout_seconds": 0.2}))
    with monkeypatch.context() as dying:
        undoer = undo.undoer_of(brief)
        sides = undoer.sides["customers"]
        undoer.sides["customers"] = replace(sides, relational=Dying(sides.relational, after=after))
        dying.setattr(undo, "undoer_of", lambda _: undoer)
        with pytest.raises(KilledError):
            await undo.carry_out(brief, started.id)
    assert await undo.left_behind(repairing) == [started.id]

    await undo.carry_out(brief, started.id)

    done = await undo.get_undo(repairing, started.id)
    assert (done.status, done.undone, done.refused) == ("done", 1, 0)
    assert (await row_of(repairing, "customers", ada))["city"] == "London"
    assert len(await applied(repairing)) == 2, "the repair and its undo, whatever was tried"
    assert await audit_of(repairing).open_intents() == []
    assert await undo.left_behind(repairing) == []


class Interposed:
    """A side to whose writes something happens: `meddle` comes first, and the answers may get lost."""

    def __init__(self, side, *, meddle=None, loses_answers: bool = False) -> None:
        self._side = side
        self._meddle = meddle
        self._loses_answers = loses_answers

    def __getattr__(self, name: str):
        return getattr(self._side, name)

    async def write(self, writes, **options):
        if self._meddle:
            await self._meddle()
        results = await self._side.write(writes, **options)
        return [None] * len(writes) if self._loses_answers else results


async def carry_out_with(
    stores: Stores, monkeypatch: pytest.MonkeyPatch, undo_id: UUID, **options
) -> UndoView:
    undoer = undo.undoer_of(stores)
    sides = undoer.sides["customers"]
    undoer.sides["customers"] = replace(sides, relational=Interposed(sides.relational, **options))
    monkeypatch.setattr(undo, "undoer_of", lambda _: undoer)
    await undo.carry_out(stores, undo_id)
    return await undo.get_undo(stores, undo_id)


async def test_a_record_that_is_written_all_the_time_is_refused(
    repairing: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await repaired_city(repairing)
    started = await undo.start(repairing, change_ids=await applied(repairing), by="test", reason="no")

    async def write() -> None:
        await repairing.admin.execute(
            "UPDATE customers SET contact_number = gen_random_uuid()::text WHERE id = $1", ada["id"]
        )

    done = await carry_out_with(repairing, monkeypatch, started.id, meddle=write)

    (reason,) = await refusals(repairing, done)
    assert reason.startswith("superseded 3 times in a row")
    assert (await row_of(repairing, "customers", ada))["city"] == "Paris"


async def test_a_write_of_which_the_store_did_not_tell_is_judged_by_reading_the_record(
    repairing: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await repaired_city(repairing)
    started = await undo.start(repairing, change_ids=await applied(repairing), by="test", reason="no")
    brief = replace(repairing, settings=repairing.settings.model_copy(update={"store_timeout_seconds": 0.2}))

    done = await carry_out_with(brief, monkeypatch, started.id, loses_answers=True)

    assert (done.undone, done.refused) == (1, 0)
    assert (await row_of(repairing, "customers", ada))["city"] == "London"
    assert len(await applied(repairing)) == 2

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from app.errors import ConflictError, InvalidInputError, NotFoundError
from app.scheduling.schedules import (
    Declaration,
    change_schedule,
    create_schedule,
    delete_schedule,
    get_schedule,
    list_active,
    list_schedules,
    load_declarations,
    set_enabled,
)

NOW = datetime(2025, 6, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
SWEEP = Declaration(name="sweep", cron="*/5 * * * *", actor="sweep")
SCAN = Declaration(
    name="scan", cron="@weekly", actor="scan", zone="Europe/Madrid", args={"entity": "launches"}
)


async def test_declarations_become_fixed_rows_that_start_now(core: asyncpg.Connection) -> None:
    await load_declarations(core, [SWEEP, SCAN], now=NOW)
    scan, sweep = await list_schedules(core)
    assert (scan.cron, scan.zone, scan.args, scan.catch_up) == (
        "@weekly",
        "Europe/Madrid",
        {"entity": "launches"},
        "fire_once",
    )
    assert all(row.fixed and row.active and row.evaluated_until == NOW for row in (scan, sweep))
    assert sweep.next_tick(NOW) == NOW + timedelta(minutes=5)


async def test_loading_the_same_declarations_again_forgets_no_tick(core: asyncpg.Connection) -> None:
    await load_declarations(core, [SWEEP], now=NOW)
    await load_declarations(core, [replace(SWEEP, catch_up="skip")], now=LATER)
    schedule = await get_schedule(core, "sweep")
    assert (schedule.evaluated_until, schedule.catch_up) == (NOW, "skip")


async def test_a_changed_specification_starts_now_without_a_burst_of_old_ticks(
    core: asyncpg.Connection,
) -> None:
    await load_declarations(core, [SWEEP], now=NOW)
    await load_declarations(core, [replace(SWEEP, cron="* * * * *")], now=LATER)
    assert (await get_schedule(core, "sweep")).evaluated_until == LATER


async def test_a_declaration_that_is_gone_retires_its_row_until_it_returns(core: asyncpg.Connection) -> None:
    await load_declarations(core, [SWEEP, SCAN], now=NOW)
    await load_declarations(core, [SCAN], now=NOW)
    retired = await get_schedule(core, "sweep")
    assert retired.retired_at == NOW
    assert retired.next_tick(NOW) is None
    assert [row.name for row in await list_active(core)] == ["scan"]
    await load_declarations(core, [SWEEP, SCAN], now=LATER)
    returned = await get_schedule(core, "sweep")
    assert returned.active
    assert returned.evaluated_until == LATER


async def test_what_an_operator_switched_off_stays_off(core: asyncpg.Connection) -> None:
    await load_declarations(core, [SWEEP], now=NOW)
    assert not (await set_enabled(core, "sweep", enabled=False, now=NOW)).active
    await load_declarations(core, [SWEEP], now=LATER)
    assert not (await get_schedule(core, "sweep")).active
    assert (await set_enabled(core, "sweep", enabled=True, now=LATER)).evaluated_until == LATER


async def test_what_an_operator_has_changed_stays_so_until_it_is_what_is_declared(
    core: asyncpg.Connection,
) -> None:
    await load_declarations(core, [SWEEP], now=NOW)
    changed = await change_schedule(core, replace(SWEEP, cron="@daily"), now=NOW)
    assert (changed.cron, changed.edited, changed.fixed) == ("@daily", True, True)
    newer = replace(SWEEP, cron="*/7 * * * *", actor="other", catch_up="skip")
    await load_declarations(core, [newer], now=LATER)
    kept = await get_schedule(core, "sweep")
    assert (kept.cron, kept.catch_up, kept.actor, kept.evaluated_until) == (
        "@daily",
        "fire_once",
        "other",
        NOW,
    )
    assert kept.declared == {"cron": "*/7 * * * *", "zone": "UTC", "args": {}, "catch_up": "skip"}
    again = await change_schedule(core, Declaration("sweep", actor="other", **kept.declared), now=LATER)
    assert (again.cron, again.edited) == ("*/7 * * * *", False)
    await load_declarations(core, [SWEEP], now=LATER)
    assert (await get_schedule(core, "sweep")).cron == SWEEP.cron


async def test_a_changed_schedule_is_retired_and_returns_as_it_was_changed(core: asyncpg.Connection) -> None:
    await load_declarations(core, [SWEEP], now=NOW)
    await change_schedule(core, replace(SWEEP, cron="@daily"), now=NOW)
    await load_declarations(core, [], now=NOW)
    assert not (await get_schedule(core, "sweep")).active
    await load_declarations(core, [SWEEP], now=LATER)
    returned = await get_schedule(core, "sweep")
    assert (returned.cron, returned.active, returned.evaluated_until) == ("@daily", True, LATER)


async def test_an_added_schedule_is_neither_overwritten_nor_retired_by_declarations(
    core: asyncpg.Connection,
) -> None:
    await create_schedule(core, replace(SWEEP, actor="mine"), now=NOW)
    await load_declarations(core, [SWEEP], now=NOW)
    await load_declarations(core, [], now=NOW)
    schedule = await get_schedule(core, "sweep")
    assert (schedule.actor, schedule.fixed, schedule.active) == ("mine", False, True)


async def test_a_name_is_given_once(core: asyncpg.Connection) -> None:
    await create_schedule(core, SWEEP, now=NOW)
    with pytest.raises(ConflictError, match="already is a schedule 'sweep'"):
        await create_schedule(core, SWEEP, now=NOW)


async def test_an_added_schedule_can_be_deleted_and_a_fixed_one_cannot(core: asyncpg.Connection) -> None:
    await load_declarations(core, [SCAN], now=NOW)
    await create_schedule(core, SWEEP, now=NOW)
    await delete_schedule(core, "sweep")
    with pytest.raises(NotFoundError):
        await get_schedule(core, "sweep")
    with pytest.raises(NotFoundError):
        await set_enabled(core, "sweep", enabled=True, now=NOW)
    with pytest.raises(ConflictError, match="disable it instead"):
        await delete_schedule(core, "scan")


def test_a_declaration_with_a_fault_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="not a cron specification"):
        Declaration(name="x", cron="every day", actor="x")
    with pytest.raises(InvalidInputError, match="not a catch-up policy"):
        Declaration(name="x", cron="@daily", actor="x", catch_up="sometimes")  # type: ignore[arg-type]

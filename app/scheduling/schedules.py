"""The `schedules` table: what comes due when, and what is done about ticks that came late."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, get_args

import asyncpg
from loguru import logger

from app.errors import ConflictError, InvalidInputError, NotFoundError
from app.scheduling import cron

CatchUp = Literal["fire_once", "fire_all", "skip"]

# How many of the latest due ticks are still fired when they are late. The bound of fire_all keeps a schedule that
# was down for a month from flooding its queue; the ticks beyond it are recorded missed.
CATCH_UP_LIMIT: Mapping[CatchUp, int] = {"fire_once": 1, "fire_all": 1000, "skip": 0}

_COLUMNS = (
    "name, cron, zone, actor, args, catch_up, fixed, declared, edited, enabled, retired_at, evaluated_until"
)


@dataclass(frozen=True)
class Declaration:
    """A schedule as its author states it; raises InvalidInputError where that cannot be kept."""

    name: str
    cron: str
    actor: str
    zone: str = "UTC"
    args: Mapping[str, Any] = field(default_factory=dict)
    catch_up: CatchUp = "fire_once"

    def __post_init__(self) -> None:
        if self.catch_up not in get_args(CatchUp):
            raise InvalidInputError(
                f"{self.catch_up!r} is not a catch-up policy: {', '.join(get_args(CatchUp))}"
            )
        cron.parse(self.cron, self.zone)


@dataclass(frozen=True)
class Schedule:
    """A row. Every tick up to `evaluated_until` is in the `ticks` table; a retired row lost its declaration.

    `declared`: what the code says of a fixed one, which is `edited` where an operator wants it otherwise.
    """

    name: str
    cron: str
    zone: str
    actor: str
    args: Mapping[str, Any]
    catch_up: CatchUp
    fixed: bool
    declared: Mapping[str, Any] | None
    edited: bool
    enabled: bool
    retired_at: datetime | None
    evaluated_until: datetime

    @property
    def active(self) -> bool:
        return self.enabled and self.retired_at is None

    def next_tick(self, now: datetime) -> datetime | None:
        """When it comes due next; None where it is not active. Raises CronError for a row that was edited by hand."""
        return cron.next_after(self.cron, self.zone, now) if self.active else None


def schedule_of(row: Mapping[str, Any]) -> Schedule:
    fields = {name: row[name] for name in Schedule.__dataclass_fields__}
    read = {name: json.loads(row[name]) for name in ("args", "declared") if isinstance(row[name], str)}
    return Schedule(**{**fields, **read})


async def list_schedules(core: asyncpg.Pool | asyncpg.Connection) -> list[Schedule]:
    """Every schedule by name, the retired ones too."""
    return [schedule_of(row) for row in await core.fetch(f"SELECT {_COLUMNS} FROM schedules ORDER BY name")]


async def list_active(core: asyncpg.Pool | asyncpg.Connection) -> list[Schedule]:
    """Every schedule that comes due."""
    query = f"SELECT {_COLUMNS} FROM schedules WHERE enabled AND retired_at IS NULL ORDER BY name"
    return [schedule_of(row) for row in await core.fetch(query)]


async def get_schedule(core: asyncpg.Pool | asyncpg.Connection, name: str, *, lock: bool = False) -> Schedule:
    """One schedule, locked until the open transaction ends if that is wanted; raises NotFoundError."""
    row = await core.fetchrow(
        f"SELECT {_COLUMNS} FROM schedules WHERE name = $1 {'FOR UPDATE' if lock else ''}", name
    )
    if row is None:
        raise NotFoundError(f"there is no schedule {name!r}")
    return schedule_of(row)


async def create_schedule(
    core: asyncpg.Pool | asyncpg.Connection, wanted: Declaration, *, now: datetime
) -> Schedule:
    """Add a schedule that first comes due after `now`; raises ConflictError where the name is taken."""
    row = await core.fetchrow(
        f"INSERT INTO schedules (name, cron, zone, actor, args, catch_up, fixed, evaluated_until) "
        f"VALUES ($1, $2, $3, $4, $5::text::jsonb, $6, false, $7) ON CONFLICT DO NOTHING RETURNING {_COLUMNS}",
        *_values(wanted),
        now,
    )
    if row is None:
        raise ConflictError(f"there already is a schedule {wanted.name!r}", f"/v1/schedules/{wanted.name}")
    return schedule_of(row)


async def change_schedule(
    core: asyncpg.Pool | asyncpg.Connection, wanted: Declaration, *, now: datetime
) -> Schedule:
    """Make a schedule what is wanted; another specification first comes due after `now`. Raises NotFoundError.

    A fixed one stays so, whatever becomes of its declaration, until it is what is declared again.
    """
    row = await core.fetchrow(_CHANGE, *_values(wanted), now)
    if row is None:
        raise NotFoundError(f"there is no schedule {wanted.name!r}")
    return schedule_of(row)


_SPECIFICATION = (
    "jsonb_build_object('cron', $2::text, 'zone', $3::text, 'args', $5::text::jsonb, 'catch_up', $6::text)"
)
_CHANGE = f"""
UPDATE schedules SET cron = $2, zone = $3, actor = $4, args = $5::text::jsonb, catch_up = $6, updated_at = now(),
    edited = COALESCE(declared <> {_SPECIFICATION}, false),
    evaluated_until = CASE WHEN cron = $2 AND zone = $3 THEN evaluated_until ELSE $7 END
WHERE name = $1 RETURNING {_COLUMNS}
"""


async def set_enabled(
    core: asyncpg.Pool | asyncpg.Connection, name: str, *, enabled: bool, now: datetime
) -> Schedule:
    """Switch a schedule on or off. Ticks that pass while it is off are not due: they leave no row."""
    row = await core.fetchrow(
        "UPDATE schedules SET enabled = $2, updated_at = now(), "
        "evaluated_until = CASE WHEN enabled = $2 THEN evaluated_until ELSE $3 END "
        f"WHERE name = $1 RETURNING {_COLUMNS}",
        name,
        enabled,
        now,
    )
    if row is None:
        raise NotFoundError(f"there is no schedule {name!r}")
    return schedule_of(row)


async def delete_schedule(core: asyncpg.Pool | asyncpg.Connection, name: str) -> None:
    """Remove a schedule and its ticks; raises ConflictError for a fixed one: its declaration would bring it back."""
    if (await get_schedule(core, name)).fixed:
        raise ConflictError(
            f"schedule {name!r} is declared in code; disable it instead", f"/v1/schedules/{name}"
        )
    await core.execute("DELETE FROM schedules WHERE name = $1 AND NOT fixed", name)


# A changed specification or a return from retirement starts at `now`: what it would have meant before is not due.
_LOAD = f"""
INSERT INTO schedules AS s (name, cron, zone, actor, args, catch_up, fixed, declared, evaluated_until)
VALUES ($1, $2, $3, $4, $5::text::jsonb, $6, true, {_SPECIFICATION}, $7)
ON CONFLICT (name) DO UPDATE SET
    cron = excluded.cron, zone = excluded.zone, actor = excluded.actor, args = excluded.args,
    catch_up = excluded.catch_up, declared = excluded.declared, retired_at = NULL, updated_at = now(),
    evaluated_until = CASE
        WHEN s.cron = excluded.cron AND s.zone = excluded.zone AND s.retired_at IS NULL THEN s.evaluated_until
        ELSE excluded.evaluated_until END
WHERE s.fixed AND NOT s.edited
RETURNING 1
"""
_LOAD_EDITED = f"""
UPDATE schedules SET actor = $4, declared = {_SPECIFICATION}, retired_at = NULL, updated_at = now(),
    evaluated_until = CASE WHEN retired_at IS NULL THEN evaluated_until ELSE $7 END
WHERE name = $1 AND edited
RETURNING 1
"""


async def load_declarations(
    core: asyncpg.Connection, declarations: Sequence[Declaration], *, now: datetime
) -> None:
    """Make the fixed rows equal to the declarations; a row whose declaration is gone is retired and keeps its ticks.

    What an operator switched off stays off, and what one has changed stays changed. A name that an added schedule already bears is
    left alone and logged.
    """
    names = [declaration.name for declaration in declarations]
    async with core.transaction():
        for declaration in declarations:
            values = (*_values(declaration), now)
            if not (await core.fetchval(_LOAD, *values) or await core.fetchval(_LOAD_EDITED, *values)):
                logger.bind(schedule=declaration.name).error("schedule.refused")
        gone = await core.fetch(
            "UPDATE schedules SET retired_at = $2, updated_at = now() "
            "WHERE fixed AND retired_at IS NULL AND name <> ALL($1::text[]) RETURNING name",
            names,
            now,
        )
    logger.bind(loaded=len(names), retired=[row["name"] for row in gone]).info("schedules.loaded")


def _values(wanted: Declaration) -> tuple[str, ...]:
    return (
        wanted.name,
        wanted.cron,
        wanted.zone,
        wanted.actor,
        json.dumps(dict(wanted.args)),
        wanted.catch_up,
    )

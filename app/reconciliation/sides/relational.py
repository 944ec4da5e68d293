"""The relational side of an entity: reads and conditional writes by its mapping."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from app.audit.entries import Outcome
from app.errors import StoreUnavailableError
from app.reconciliation.mapping import Authority, Derived, Field, Mapping, Missing, Side, is_plain
from app.reconciliation.resolve import Action
from app.reconciliation.sides.ports import (
    Reading,
    RecordFaultError,
    Write,
    Written,
    all_referring,
    one_each,
)
from app.reconciliation.sides.row_writes import (
    NoColumnError,
    RowWrite,
    Shape,
    Target,
    Verb,
    column_types,
)
from app.reconciliation.sides.stored_values import marking, read_relational_value, write_relational_value
from app.reconciliation.values import Kind, Record, instant_of, parse_key, to_relational
from app.stores.health import POSTGRES_FAULTS, POSTGRES_PASSING, POSTGRES_UNAVAILABLE

# What asyncpg raises for a value that is not of the type of its column, some of it as an InterfaceError too.
_UNFIT = (ValueError, AttributeError)
_CANNOT_HOLD = "the relational side cannot hold a value"


class _DoesNotFitError(Exception):
    """A column took a value only by changing it; the write is rolled back."""


def column(mapping: Mapping, each: Field) -> str:
    """The SQL expression of a field: a plain column is qualified with the mapped table."""
    return f'{mapping.table}."{each.expression}"' if is_plain(each) else each.expression or "NULL"


def from_clause(mapping: Mapping) -> str:
    """FROM with every joined table; a record whose joined row is gone is still a record."""
    return " ".join(
        [f"FROM {mapping.table}", *(f"LEFT JOIN {each.table} ON {each.on}" for each in mapping.joins)]
    )


def select_clause(mapping: Mapping) -> str:
    """SELECT of a record: "key", "f0" and so on for the fields that the side keeps, "updated_at", "deleted", "clock".

    "deleted" is what the marker of a soft delete holds, if the mapping has one.
    """
    kept = (each for each in mapping.fields if each.expression)
    columns = [f'{column(mapping, each)} AS "f{at}"' for at, each in enumerate(kept)]
    if mapping.relational_deleted:
        columns.append(f'{mapping.table}."{mapping.relational_deleted.at}" AS "deleted"')
    return (
        f'SELECT {mapping.table}."{mapping.key_relational}" AS "key", {", ".join(columns)}, '
        f'{mapping.table}."{mapping.updated_at}" AS "updated_at", clock_timestamp() AS "clock" {from_clause(mapping)}'
    )


def rights_needed(mapping: Mapping) -> list[str]:
    """The privileges on the mapped table that repairs may need, beside SELECT."""
    removes = mapping.missing_document in {Missing.REMOVE, Missing.REVIEW}
    rights: list[str] = []
    if mapping.missing_relational in {Missing.CREATE, Missing.REVIEW}:
        rights.append("INSERT")
    # A row is locked before it is deleted, which takes the right to update it.
    if (
        removes
        or mapping.relational_deleted
        or any(
            not isinstance(each.rule, Derived) and each.rule != Authority(Side.RELATIONAL)
            for each in mapping.fields
        )
    ):
        rights.append("UPDATE")
    if removes and not mapping.relational_deleted:
        rights.append("DELETE")
    return rights


class RelationalSide:
    """Implements `SidePort` on PostgreSQL. Only plain columns of the mapped table are written and conditions."""

    def __init__(self, pool: asyncpg.Pool, mapping: Mapping) -> None:
        self._pool = pool
        self._mapping = mapping
        self._marker = mapping.relational_deleted
        self._key_column = f'{mapping.table}."{mapping.key_relational}"'
        self._kept = [each for each in mapping.fields if each.expression]
        self._plain = {each.name: each.expression or "" for each in self._kept if is_plain(each)}
        self._select = select_clause(mapping)

    async def read(self, keys: Sequence[str]) -> dict[str, Reading]:
        query = f"{self._select} WHERE {self._key_column} = ANY({_array(self._mapping.key_kind)})"
        return one_each(await self._read(query, self._keys(keys)))

    async def read_referring(self, name: str, keys: Sequence[str]) -> dict[str, Reading]:
        each = self._mapping.field_by_name[name]
        query = f"{self._select} WHERE {column(self._mapping, each)} = ANY({_array(each.kind)})"
        return all_referring(await self._read(query, [parse_key(each.kind, key) for key in keys]), name)

    async def existing(self, keys: Iterable[str]) -> set[str]:
        marker = f'{self._mapping.table}."{self._marker.at}"' if self._marker else "NULL"
        query = (
            f'SELECT {self._key_column} AS "key", {marker} AS "deleted" '
            f"FROM {self._mapping.table} WHERE {self._key_column} = ANY({_array(self._mapping.key_kind)})"
        )
        with _answering():
            rows = await self._pool.fetch(query, self._keys(keys))
        return {str(row["key"]) for row in rows if not self._is_deleted(row)}

    async def write(self, writes: Sequence[Write], *, until: datetime) -> list[Written | None]:
        results: dict[int, Written | None] = dict.fromkeys(range(len(writes)))
        rows: dict[int, RowWrite] = {}
        for at, each in enumerate(writes):
            try:
                rows[at] = self._row_write(each)
            except ValueError as error:
                results[at] = Written(Outcome.REJECTED, f"{_CANNOT_HOLD}: {error}")
        with suppress(*POSTGRES_FAULTS):
            async with self._pool.acquire() as connection:
                await self._write_rows(connection, rows, until, results)
        return [results[at] for at in range(len(writes))]

    async def _write_rows(
        self,
        connection: Any,
        rows: dict[int, RowWrite],
        until: datetime,
        results: dict[int, Written | None],
    ) -> None:
        mapping = self._mapping
        types = await column_types(connection, mapping.table)
        target = Target(mapping.table, mapping.key_relational, types, until)
        shapes: defaultdict[Shape, list[int]] = defaultdict(list)
        # In the order of the keys: two that create the same rows wait for each other but in one direction.
        for at in sorted(rows, key=lambda at: str(rows[at].key)):
            shapes[rows[at].shape].append(at)
        for own in shapes.values():
            written = await self._write_alike(connection, target, [rows[at] for at in own])
            results.update(zip(own, written, strict=True))

    async def _write_alike(
        self, connection: Any, target: Target, rows: Sequence[RowWrite]
    ) -> list[Written | None]:
        """Write rows of one shape in one transaction; where one fails, the halves by themselves, down to the one."""
        try:
            async with connection.transaction():
                kept = await target.write(connection, rows)
                self._check_fit(rows, kept)
        except (_DoesNotFitError, NoColumnError, *_UNFIT, *POSTGRES_FAULTS) as error:
            if _is_passing(error):
                return [None] * len(rows)
            if len(rows) == 1:
                return [self._refusal(rows[0], error)]
            half = len(rows) // 2
            return [
                *await self._write_alike(connection, target, rows[:half]),
                *await self._write_alike(connection, target, rows[half:]),
            ]
        return [Written(Outcome.APPLIED if str(each.key) in kept else Outcome.SUPERSEDED) for each in rows]

    def _row_write(self, write: Write) -> RowWrite:
        """The row that carries out a write. Raises ValueError for a value that the relational side cannot hold."""
        plan, stored = write.plan, write.reading.stored
        sets = {
            self._plain[name]: write_relational_value(self._mapping.field_by_name[name], value)
            for name, value in plan.values.items()
        }
        verb = Verb.UPDATE
        if plan.action is Action.CREATE and not stored:
            verb = Verb.INSERT
        elif plan.action is Action.REMOVE and not self._marker:
            verb = Verb.DELETE
        if write.updated_at is not None and verb is not Verb.DELETE:
            sets[self._mapping.updated_at] = to_relational(write.updated_at)
        if self._marker and plan.action is not Action.UPDATE:
            sets[self._marker.at] = marking(self._marker, deleted=plan.action is Action.REMOVE)
        return RowWrite(self._key(write.key), verb, sets, stored, plan.values)

    def _check_fit(self, rows: Sequence[RowWrite], kept: dict[str, asyncpg.Record]) -> None:
        for each in rows:
            row = kept.get(str(each.key))
            if row is not None:
                self._check_row(each.values, row)
        if kept.keys() - {str(each.key) for each in rows}:
            raise _DoesNotFitError(f"column {self._mapping.key_relational} cannot hold the key unchanged")

    def _check_row(self, values: Record, row: asyncpg.Record) -> None:
        for name, value in values.items():
            column = self._plain[name]
            if read_relational_value(self._mapping.field_by_name[name], row[column]) != value:
                raise _DoesNotFitError(f"column {column} cannot hold {name} unchanged")

    async def _read(self, query: str, values: list[UUID | int | str]) -> list[tuple[str, Reading]]:
        with _answering():
            rows = await self._pool.fetch(query, values)
        return [(str(row["key"]), self._reading(row)) for row in rows]

    def _reading(self, row: asyncpg.Record) -> Reading:
        stored = {
            self._plain[each.name]: row[f"f{at}"]
            for at, each in enumerate(self._kept)
            if each.name in self._plain
        }
        stored[self._mapping.updated_at] = row["updated_at"]
        if self._marker:
            stored[self._marker.at] = row["deleted"]
        record: Record | None = None
        if not self._is_deleted(row):
            record = {
                each.name: read_relational_value(each, row[f"f{at}"]) for at, each in enumerate(self._kept)
            }
        updated_at = instant_of(row["updated_at"])
        age = None if updated_at is None else row["clock"] - updated_at
        return Reading(record=record, stored=stored, updated_at=updated_at, age=age)

    def _is_deleted(self, row: asyncpg.Record) -> bool:
        return self._marker is not None and self._marker.deletes(row["deleted"])

    def _keys(self, keys: Iterable[str]) -> list[UUID | int | str]:
        """The keys that the side could hold."""
        return [self._key(key) for key in keys if self._mapping.is_key(key)]

    def _key(self, key: str) -> UUID | int | str:
        return parse_key(self._mapping.key_kind, key)

    def _refusal(self, row: RowWrite, error: Exception) -> Written:
        """Why a row is not written, without the driver's message: that may quote what the row holds."""
        match error:
            case _DoesNotFitError() | NoColumnError():
                return Written(Outcome.REJECTED, str(error))
            case asyncpg.IntegrityConstraintViolationError():
                return Written(Outcome.REJECTED, f"constraint {error.constraint_name or error.column_name}")
            case asyncpg.DeadlockDetectedError():
                return Written(Outcome.SUPERSEDED, "another transaction stood in the way")
            case asyncpg.InsufficientPrivilegeError():
                return Written(Outcome.REJECTED, f"no right to {row.verb} in {self._mapping.table}")
            case asyncpg.PostgresError() if not isinstance(error, asyncpg.DataError):
                return Written(Outcome.REJECTED, f"the relational side refused it ({_kind(error)})")
            case _:
                return Written(
                    Outcome.REJECTED,
                    f"{_CANNOT_HOLD} of {', '.join(row.values or row.sets)} ({_kind(error)})",
                )


def _is_passing(error: Exception) -> bool:
    """Whether only reading the rows again tells what became of them. A deadlock has changed nothing for certain."""
    return isinstance(error, POSTGRES_PASSING) and not isinstance(
        error, (*_UNFIT, asyncpg.DeadlockDetectedError)
    )


def _array(kind: Kind) -> str:
    """The parameter of some keys. A column of 32 bits is asked for 64-bit keys too, and just does not have them."""
    return "$1::int8[]" if kind is Kind.INTEGER else "$1"


def _kind(error: Exception) -> str:
    name = type(error).__name__
    return f"SQLSTATE {error.sqlstate}, {name}" if isinstance(error, asyncpg.PostgresError) else name


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except POSTGRES_UNAVAILABLE as error:
        raise StoreUnavailableError("the admin database does not answer") from error
    except asyncpg.PostgresError as error:
        # Without its cause: PostgreSQL's message may quote what a row holds.
        raise RecordFaultError(f"the relational side cannot tell what it holds ({_kind(error)})") from None

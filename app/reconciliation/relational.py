"""The relational side of an entity: reads and conditional writes by its mapping."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from app.audit.entries import Outcome
from app.errors import StoreUnavailableError
from app.reconciliation.mapping import COLUMN, Authority, Derived, Field, Mapping, Missing, Side
from app.reconciliation.resolve import Action, Plan
from app.reconciliation.sides import Reading, WriteUnknownError, Written
from app.reconciliation.values import Record, Value, from_relational, instant_of, parse_key, to_relational

_LOST = (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.PostgresConnectionError)


class _DoesNotFitError(Exception):
    """A column took a value only by changing it; the write is rolled back."""


def column(mapping: Mapping, each: Field) -> str:
    """The SQL expression of a field: a plain column is qualified with the mapped table."""
    return f'{mapping.table}."{each.expression}"' if is_plain(each) else each.expression or "NULL"


def is_plain(each: Field) -> bool:
    """Whether a field is a column of the mapped table itself, which alone can be written."""
    return bool(each.expression and COLUMN.match(each.expression))


def from_clause(mapping: Mapping) -> str:
    """FROM with every joined table; a record whose joined row is gone is still a record."""
    return " ".join(
        [f"FROM {mapping.table}", *(f"LEFT JOIN {each.table} ON {each.on}" for each in mapping.joins)]
    )


def select_clause(mapping: Mapping) -> str:
    """SELECT of a record: "key", "f0" and so on for the fields that the side keeps, "updated_at", "clock"."""
    kept = (each for each in mapping.fields if each.expression)
    columns = ", ".join(f'{column(mapping, each)} AS "f{at}"' for at, each in enumerate(kept))
    return (
        f'SELECT {mapping.table}."{mapping.key_relational}" AS "key", {columns}, '
        f'{mapping.table}."{mapping.updated_at}" AS "updated_at", clock_timestamp() AS "clock" {from_clause(mapping)}'
    )


def rights_needed(mapping: Mapping) -> list[str]:
    """The privileges on the mapped table that repairs may need, beside SELECT."""
    rights: list[str] = []
    if mapping.missing_relational is Missing.CREATE:
        rights.append("INSERT")
    if any(
        not isinstance(each.rule, Derived) and each.rule != Authority(Side.RELATIONAL)
        for each in mapping.fields
    ):
        rights.append("UPDATE")
    if Missing.REMOVE is mapping.missing_document or Missing.REVIEW is mapping.missing_document:
        rights.append("DELETE")
    return rights


class RelationalSide:
    """Implements `SidePort` on PostgreSQL. Only plain columns of the mapped table are written and conditions."""

    def __init__(self, pool: asyncpg.Pool, mapping: Mapping) -> None:
        self._pool = pool
        self._mapping = mapping
        self._key_column = f'{mapping.table}."{mapping.key_relational}"'
        self._kept = [each for each in mapping.fields if each.expression]
        self._plain = {each.name: each.expression or "" for each in self._kept if is_plain(each)}
        self._select = select_clause(mapping)

    async def read(self, keys: Sequence[str]) -> dict[str, Reading]:
        query = f"{self._select} WHERE {self._key_column} = ANY($1)"
        return await self._read(query, [self._key(key) for key in keys])

    async def read_referring(self, name: str, keys: Sequence[str]) -> dict[str, Reading]:
        each = self._mapping.field_by_name[name]
        query = f"{self._select} WHERE {column(self._mapping, each)} = ANY($1)"
        return await self._read(query, [parse_key(each.kind, key) for key in keys])

    async def existing(self, keys: Iterable[str]) -> set[str]:
        query = f'SELECT {self._key_column} AS "key" FROM {self._mapping.table} WHERE {self._key_column} = ANY($1)'
        with _answering():
            rows = await self._pool.fetch(query, [self._key(key) for key in keys])
        return {str(row["key"]) for row in rows}

    async def write(self, key: str, plan: Plan, reading: Reading, updated_at: datetime | None) -> Written:
        try:
            return await self._write(key, plan, reading, updated_at)
        except _DoesNotFitError as error:
            return Written(Outcome.REJECTED, str(error))
        except asyncpg.IntegrityConstraintViolationError as error:
            return Written(Outcome.REJECTED, f"constraint {error.constraint_name or error.column_name}")
        except (asyncpg.DataError, ValueError) as error:
            return Written(Outcome.REJECTED, f"the relational side cannot hold a value: {error}")
        except asyncpg.InsufficientPrivilegeError:
            return Written(Outcome.REJECTED, f"no right to {plan.action} {self._mapping.table}")
        except (*_LOST, asyncpg.PostgresError) as error:
            raise WriteUnknownError(type(error).__name__) from error

    async def _write(self, key: str, plan: Plan, reading: Reading, updated_at: datetime | None) -> Written:
        if plan.action is Action.CREATE:
            statement, arguments = self._insert(key, plan.values, updated_at)
        elif plan.action is Action.REMOVE:
            statement, arguments = self._delete(key, reading)
        else:
            statement, arguments = self._update(key, plan.values, reading, updated_at)
        async with self._pool.acquire() as connection, connection.transaction():
            row = await connection.fetchrow(statement, *arguments)
            if row is None:
                return Written(Outcome.SUPERSEDED)
            if plan.action is not Action.REMOVE:
                self._check_fit(plan.values, row)
        return Written(Outcome.APPLIED)

    def _insert(self, key: str, values: Record, updated_at: datetime | None) -> tuple[str, list[Any]]:
        columns = [self._mapping.key_relational, *(self._plain[name] for name in values)]
        arguments: list[Any] = [self._key(key), *(to_relational(value) for value in values.values())]
        if updated_at is not None:
            columns.append(self._mapping.updated_at)
            arguments.append(updated_at)
        names = ", ".join(f'"{name}"' for name in columns)
        places = ", ".join(f"${at}" for at in range(1, len(columns) + 1))
        statement = (
            f"INSERT INTO {self._mapping.table} ({names}) VALUES ({places}) "
            f'ON CONFLICT ("{self._mapping.key_relational}") DO NOTHING {self._returning(values)}'
        )
        return statement, arguments

    def _update(
        self, key: str, values: Record, reading: Reading, updated_at: datetime | None
    ) -> tuple[str, list[Any]]:
        sets = {self._plain[name]: to_relational(value) for name, value in values.items()}
        if updated_at is not None:
            sets[self._mapping.updated_at] = updated_at
        assignments = ", ".join(f'"{name}" = ${at}' for at, name in enumerate(sets, start=1))
        condition, arguments = self._condition(key, reading, first=len(sets) + 1)
        statement = (
            f"UPDATE {self._mapping.table} SET {assignments} WHERE {condition} {self._returning(values)}"
        )
        return statement, [*sets.values(), *arguments]

    def _delete(self, key: str, reading: Reading) -> tuple[str, list[Any]]:
        condition, arguments = self._condition(key, reading, first=1)
        return f"DELETE FROM {self._mapping.table} WHERE {condition} {self._returning({})}", arguments

    def _condition(self, key: str, reading: Reading, *, first: int) -> tuple[str, list[Any]]:
        terms = [f'"{self._mapping.key_relational}" = ${first}']
        terms += [
            f'"{name}" IS NOT DISTINCT FROM ${at}' for at, name in enumerate(reading.stored, start=first + 1)
        ]
        return " AND ".join(terms), [self._key(key), *reading.stored.values()]

    def _returning(self, values: Record) -> str:
        columns = [f'"{self._plain[name]}"' for name in values] or [f'"{self._mapping.key_relational}"']
        return "RETURNING " + ", ".join(columns)

    def _check_fit(self, values: Record, row: asyncpg.Record) -> None:
        for at, (name, value) in enumerate(values.items()):
            kept = from_relational(self._mapping.field_by_name[name].kind, row[at])
            if kept != value:
                raise _DoesNotFitError(f"column {self._plain[name]} cannot hold {name} unchanged")

    async def _read(self, query: str, values: list[UUID | int | str]) -> dict[str, Reading]:
        with _answering():
            rows = await self._pool.fetch(query, values)
        return {str(row["key"]): self._reading(row) for row in rows}

    def _reading(self, row: asyncpg.Record) -> Reading:
        record: dict[str, Value] = {
            each.name: from_relational(each.kind, row[f"f{at}"]) for at, each in enumerate(self._kept)
        }
        stored = {
            self._plain[each.name]: row[f"f{at}"]
            for at, each in enumerate(self._kept)
            if each.name in self._plain
        }
        updated_at = instant_of(row["updated_at"])
        return Reading(
            record=record,
            stored=stored | {self._mapping.updated_at: row["updated_at"]},
            updated_at=updated_at,
            age=None if updated_at is None else row["clock"] - updated_at,
        )

    def _key(self, key: str) -> UUID | int | str:
        return parse_key(self._mapping.key_kind, key)


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except (*_LOST, asyncpg.PostgresError) as error:
        raise StoreUnavailableError("the admin database does not answer") from error

"""Conditional writes to many rows of a table in one statement each kind.

The values of each column go as one array, so that the text of a statement does not depend on the number of rows and no
limit of parameters is met. Every array is cast to the type of its column.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from itertools import count
from typing import Any, assert_never
from uuid import UUID

import asyncpg

from app.reconciliation.values import Record

_ZONELESS = "timestamp without time zone"
# Without the length or precision that a column is declared with: a cast to that would change a value in silence.
_TYPES = """
SELECT attname, format_type(atttypid, -1) AS type FROM pg_attribute
WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped
"""

_IN_TIME = "clock_timestamp() < $1::timestamptz"

ColumnTypes = dict[str, str]


class NoColumnError(Exception):
    """A table has no column of that name."""


class Verb(StrEnum):
    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"


@dataclass(frozen=True)
class Shape:
    """What writes have in common that share a statement: columns that they set, and columns that they expect."""

    verb: Verb
    sets: tuple[str, ...]
    expects: tuple[str, ...]


@dataclass(frozen=True)
class RowWrite:
    """One row to write: its columns `sets`, if it still has what it `expects`. `values` are what is set, by field."""

    key: UUID | int | str
    verb: Verb
    sets: dict[str, Any]
    expects: dict[str, Any]
    values: Record

    @property
    def shape(self) -> Shape:
        return Shape(self.verb, tuple(self.sets), tuple(self.expects))

    @property
    def row(self) -> tuple[Any, ...]:
        return self.key, *self.sets.values(), *self.expects.values()


async def column_types(connection: Any, table: str) -> ColumnTypes:
    """The SQL type of each column of a table."""
    return {row["attname"]: row["type"] for row in await connection.fetch(_TYPES, table)}


@dataclass(frozen=True)
class Target:
    """A table to write to until some time, by its server's clock, and the types of its columns, as they are now."""

    table: str
    key: str
    types: ColumnTypes
    until: datetime

    async def write(self, connection: Any, writes: Sequence[RowWrite]) -> dict[str, asyncpg.Record]:
        """Write rows of one shape; answers those that were written, as they are now, by key.

        Nothing is written that comes too late. A row that somebody else has locked counts as changed: nobody is waited
        for, so that two who write the same rows never hold up each other. Raises NoColumnError.
        """
        shape = writes[0].shape
        columns = (self.key, *shape.sets, *shape.expects)
        types = [self._type(name) for name in columns]
        arguments = [
            [_fit(value, of) for value in column]
            for column, of in zip(zip(*(each.row for each in writes), strict=True), types, strict=True)
        ]
        rows = await connection.fetch(self.statement(shape), self.until, *arguments)
        return {str(row["key"]): row for row in rows}

    def statement(self, shape: Shape) -> str:
        """The statement of a shape: $1 is the time, $2 are the keys, then what is set, then what is expected."""
        numbers = count(2)
        names = ["key", *(f"s{at}" for at in range(len(shape.sets)))]
        names += [f"e{at}" for at in range(len(shape.expects))]
        columns = (self.key, *shape.sets, *shape.expects)
        arrays = ", ".join(f"${next(numbers)}::{self._type(name)}[]" for name in columns)
        given = f"unnest({arrays}) AS given({', '.join(names)})"
        returning = ", ".join(
            [f'{self.table}."{self.key}" AS "key"', *(self._column(each) for each in shape.sets)]
        )
        match shape.verb:
            case Verb.INSERT:
                into = ", ".join(f'"{name}"' for name in (self.key, *shape.sets))
                return (
                    f"INSERT INTO {self.table} ({into}) SELECT {', '.join(names)} FROM {given} WHERE {_IN_TIME} "
                    f'ON CONFLICT ("{self.key}") DO NOTHING RETURNING {returning}'
                )
            case Verb.UPDATE:
                sets = ", ".join(f'"{name}" = given.s{at}' for at, name in enumerate(shape.sets))
                return (
                    f"{self._free('FOR NO KEY UPDATE')} UPDATE {self.table} SET {sets} "
                    f"FROM {given}, free WHERE {self._condition(shape)} RETURNING {returning}"
                )
            case Verb.DELETE:
                return (
                    f"{self._free('FOR UPDATE')} DELETE FROM {self.table} "
                    f"USING {given}, free WHERE {self._condition(shape)} RETURNING {returning}"
                )
            case _:
                assert_never(shape.verb)

    def _free(self, lock: str) -> str:
        keys = f"ANY($2::{self._type(self.key)}[])"
        return (
            f'WITH free AS (SELECT "{self.key}" AS key FROM {self.table} '
            f'WHERE "{self.key}" = {keys} {lock} SKIP LOCKED)'
        )

    def _condition(self, shape: Shape) -> str:
        key = self._column(self.key)
        terms = [_IN_TIME, f"{key} = given.key", f"{key} = free.key"]
        terms += [
            f"{self._column(name)} IS NOT DISTINCT FROM given.e{at}" for at, name in enumerate(shape.expects)
        ]
        return " AND ".join(terms)

    def _column(self, name: str) -> str:
        return f'{self.table}."{name}"'

    def _type(self, name: str) -> str:
        try:
            return self.types[name]
        except KeyError:
            raise NoColumnError(f"{self.table} has no column {name}") from None


def _fit(value: Any, of: str) -> Any:
    # A column without a zone holds UTC, as everything here does.
    if of == _ZONELESS and isinstance(value, datetime) and value.tzinfo:
        return value.astimezone(UTC).replace(tzinfo=None)
    return value

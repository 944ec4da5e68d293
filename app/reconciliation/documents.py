"""The document side of an entity: reads and conditional writes by its mapping."""

from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Mapping as Dictionary
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import DecimalException
from typing import Any
from uuid import UUID

from bson.errors import BSONError
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import DuplicateKeyError, PyMongoError, WriteError
from pymongo.write_concern import WriteConcern

from app.audit.entries import Outcome
from app.errors import StoreUnavailableError
from app.reconciliation.bson_records import decode_document, documents_of, value_at
from app.reconciliation.mapping import Mapping
from app.reconciliation.resolve import Action, Plan
from app.reconciliation.sides import Reading, WriteUnknownError, Written
from app.reconciliation.values import Record, parse_key, to_document

# A write counts once a majority has it on disk: what was repaired stays repaired.
_DURABLE = WriteConcern(w="majority", j=True)


class DocumentSide:
    """Implements `SidePort` on MongoDB. A missing field and a null match each other, as MongoDB's own `null` does."""

    def __init__(self, database: AsyncDatabase[dict[str, Any]], mapping: Mapping) -> None:
        self._database = database
        self._mapping = mapping
        self._collection: AsyncCollection[dict[str, Any]] = database[mapping.collection].with_options(
            write_concern=_DURABLE
        )
        self._paths = [*(each.path for each in mapping.fields), mapping.updated_at]
        # Whole top-level fields: a projection of `address.city` would hide an address that is no subdocument.
        self._projection = {path.split(".")[0]: 1 for path in self._paths}

    async def read(self, keys: Sequence[str]) -> dict[str, Reading]:
        return await self._find(self._key_filter(keys))

    async def read_referring(self, name: str, keys: Sequence[str]) -> dict[str, Reading]:
        field = self._mapping.field_by_name[name]
        values = [to_document(parse_key(field.kind, key)) for key in keys]
        return await self._find({field.path: {"$in": values}})

    async def existing(self, keys: Iterable[str]) -> set[str]:
        with _answering():
            cursor = self._collection.find(self._key_filter(list(keys)), {self._mapping.key_document: 1})
            return {str(found[self._mapping.key_document]) async for found in cursor}

    async def write(self, key: str, plan: Plan, reading: Reading, updated_at: datetime | None) -> Written:
        try:
            return await self._write(key, plan, reading, updated_at)
        except DuplicateKeyError as error:
            return _duplicate(error, self._mapping.key_document)
        except (BSONError, DecimalException, ValueError, OverflowError) as error:
            return Written(Outcome.REJECTED, f"the document side cannot hold a value: {error}")
        except WriteError as error:
            return Written(Outcome.REJECTED, f"the document side refused it (code {error.code})")
        except PyMongoError as error:
            raise WriteUnknownError(type(error).__name__) from error

    async def _write(self, key: str, plan: Plan, reading: Reading, updated_at: datetime | None) -> Written:
        mapping = self._mapping
        values = {mapping.field_by_name[name].path: to_document(value) for name, value in plan.values.items()}
        if updated_at is not None:
            values[mapping.updated_at] = updated_at
        if plan.action is Action.CREATE:
            await self._collection.insert_one(_nested({mapping.key_document: self._key(key)} | values))
            return Written(Outcome.APPLIED)
        condition = {mapping.key_document: self._key(key)} | reading.stored
        if plan.action is Action.REMOVE:
            count = (await self._collection.delete_one(condition)).deleted_count
        else:
            count = (await self._collection.update_one(condition, {"$set": values})).matched_count
        return Written(Outcome.APPLIED if count else Outcome.SUPERSEDED)

    async def _find(self, query: dict[str, Any]) -> dict[str, Reading]:
        with _answering():
            # The clock is asked first: what is written while we read looks young, never settled.
            clock = (await self._database.client.admin.command("hello"))["localTime"]
            batches: list[Any] = await self._collection.find_raw_batches(query, self._projection).to_list()
        readings = (self._reading(raw, clock) for batch in batches for raw in documents_of(batch))
        return dict(readings)

    def _reading(self, raw: bytes, clock: datetime) -> tuple[str, Reading]:
        document, broken = decode_document(raw)
        stored = {path: _at(document, path) for path in self._paths}
        updated_at = stored[self._mapping.updated_at]
        if not isinstance(updated_at, datetime):
            updated_at = None
        record: Record = {
            each.name: broken or value_at(document, each.kind, each.path) for each in self._mapping.fields
        }
        reading = Reading(record=record, stored=stored, updated_at=updated_at, age=_age(updated_at, clock))
        return str(document[self._mapping.key_document]), reading

    def _key(self, key: str) -> UUID | int | str:
        return parse_key(self._mapping.key_kind, key)

    def _key_filter(self, keys: Sequence[str]) -> dict[str, Any]:
        return {self._mapping.key_document: {"$in": [self._key(key) for key in keys]}}


def _at(document: Any, path: str) -> Any:
    for step in path.split("."):
        if not isinstance(document, Dictionary):
            return None
        document = document.get(step)
    return document


def _nested(flat: dict[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for path, value in flat.items():
        *parents, name = path.split(".")
        place = nested
        for parent in parents:
            place = place.setdefault(parent, {})
        place[name] = value
    return nested


def _age(updated_at: datetime | None, clock: datetime) -> timedelta | None:
    return None if updated_at is None else clock.astimezone(UTC) - updated_at.astimezone(UTC)


def _duplicate(error: DuplicateKeyError, key_path: str) -> Written:
    pattern = (error.details or {}).get("keyPattern", {})
    if list(pattern) == [key_path]:
        return Written(Outcome.SUPERSEDED, "the record exists by now")
    return Written(
        Outcome.REJECTED, f"unique index on {', '.join(pattern) or 'a field'} of the document side"
    )


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except PyMongoError as error:
        raise StoreUnavailableError("the customer database does not answer") from error

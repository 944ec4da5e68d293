"""The document side of an entity: reads and conditional writes by its mapping."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import DecimalException
from typing import Any
from uuid import UUID

from bson import encode
from bson.errors import BSONError
from pymongo import DeleteOne, InsertOne, UpdateOne
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import ClientBulkWriteException, OperationFailure, PyMongoError, WriteConcernError
from pymongo.results import ClientBulkWriteResult
from pymongo.write_concern import WriteConcern

from app.audit.entries import Outcome
from app.clock import now
from app.errors import StoreUnavailableError
from app.reconciliation.mapping import Mapping
from app.reconciliation.resolve import Action
from app.reconciliation.sides.bson_records import CODEC, Document, decode_document, documents_of, stored_at
from app.reconciliation.sides.ports import Reading, Write, Written, all_referring, one_each
from app.reconciliation.sides.stored_values import marking, read_document_value, write_document_value
from app.reconciliation.values import Record, Unreadable, from_document, parse_key, to_document
from app.stores.connections import customer_clock

Operation = InsertOne[Document] | UpdateOne | DeleteOne

# A write counts once a majority has it on disk: what was repaired stays repaired.
_DURABLE = WriteConcern(w="majority", j=True)
_DUPLICATE = 11000  # MongoDB's code for a key that a unique index has already
# MongoDB's codes for trouble of its own (a primary that steps down, a shutdown, a time-out, a conflict, a client that
# it does not know): they say nothing against the record.
_PASSING = frozenset(
    {6, 7, 18, 24, 50, 89, 91, 112, 189, 262, 9001, 10107, 11600, 11601, 11602, 13435, 13436}
)
# Bytes of one document or statement; MongoDB fails a whole batch for a larger one.
_LARGEST = 16 * 1024 * 1024
# MongoDB compares with the elements of an array too, and looks for a field in each of them.
_NO_ARRAY = {"$not": {"$type": "array"}}
_UNFIT = (BSONError, DecimalException, ValueError, OverflowError)


class DocumentSide:
    """Implements `SidePort` on MongoDB. A missing field and a null match each other, as MongoDB's own `null` does."""

    def __init__(self, database: AsyncDatabase[Document], mapping: Mapping) -> None:
        self._database = database
        self._mapping = mapping
        self._marker = mapping.document_deleted
        self._collection: AsyncCollection[Document] = database[mapping.collection]
        self._namespace = f"{database.name}.{mapping.collection}"
        self._paths = [*(each.path for each in mapping.fields), mapping.updated_at_path]
        if self._marker:
            self._paths.append(self._marker.at)
        self._parents = _parents_of(self._paths)
        # Whole top-level fields: a projection of `address.city` would hide an address that is no subdocument.
        self._projection = {path.split(".")[0]: 1 for path in (mapping.key_document, *self._paths)}

    async def read(self, keys: Sequence[str]) -> dict[str, Reading]:
        return one_each(await self._find(self._key_filter(keys)))

    async def read_referring(self, name: str, keys: Sequence[str]) -> dict[str, Reading]:
        field = self._mapping.field_by_name[name]
        values = [to_document(parse_key(field.kind, key)) for key in keys]
        return all_referring(await self._find({field.path: {"$in": values}}), name)

    async def existing(self, keys: Iterable[str]) -> set[str]:
        path = self._mapping.key_document
        wanted = {path: 1} | ({self._marker.at: 1} if self._marker else {})
        with _answering():
            found = await self._collection.find(self._key_filter(list(keys)), wanted).to_list()
        return {self._spell_key(each) for each in found if not self._is_deleted(each)}

    async def write(self, writes: Sequence[Write], *, until: datetime) -> list[Written | None]:
        results: dict[int, Written | None] = {}
        operations: dict[int, Operation] = {}
        for at, each in enumerate(writes):
            try:
                operations[at] = self._operation(each)
            except _UNFIT as error:
                results[at] = _unfit(each, error)
        sent = await self._send(list(operations.values()), until)
        results |= dict(zip(operations, sent, strict=True))
        return [results[at] for at in range(len(writes))]

    async def _send(self, operations: Sequence[Operation], until: datetime) -> list[Written | None]:
        if now() >= until:
            return [Written(Outcome.SUPERSEDED, "its time was over before it was sent")] * len(operations)
        try:
            return await self._try(operations) if operations else []
        except PyMongoError:
            return [None] * len(operations)

    async def _try(self, operations: Sequence[Operation]) -> list[Written | None]:
        try:
            result = await self._database.client.bulk_write(
                operations, ordered=False, verbose_results=True, write_concern=_DURABLE
            )
        except ClientBulkWriteException as error:
            refused = None if error.partial_result else _refusal_of_all(error.error)
            if refused:
                return [refused] * len(operations)
            faults = {fault["idx"]: fault for fault in error.details["writeErrors"]}
            known = {at: _judge_beside(error, at) for at in range(len(operations)) if at not in faults}
            known |= await self._refusals(faults)
            return [known[at] for at in range(len(operations))]
        except OperationFailure as error:
            return [_refusal_of_all(error)] * len(operations)
        return [_judge(result, at) for at in range(len(operations))]

    async def _refusals(self, faults: dict[int, Document]) -> dict[int, Written | None]:
        """What became of operations that the store did not carry out."""
        # Of several unique indexes that a new record breaks, the store names any one: it may be there nevertheless.
        path = self._mapping.key_document
        created = {
            at: stored_at(fault["op"]["document"], path)
            for at, fault in faults.items()
            if fault["code"] == _DUPLICATE and "document" in fault["op"]
        }
        there = set()
        if created:
            query = {path: {"$in": list(created.values())}}
            there = {stored_at(each, path) async for each in self._collection.find(query, {path: 1})}
        return {
            at: Written(Outcome.SUPERSEDED, "the record exists by now")
            if created.get(at) in there
            else _refusal(fault)
            for at, fault in faults.items()
        }

    def _operation(self, write: Write) -> Operation:
        """One conditional write; raises one of _UNFIT where it cannot be sent, which would fail the others too."""
        key = {self._mapping.key_document: self._key(write.key)}
        stored = write.reading.stored
        condition = key | self._condition(stored)
        values = self._values(write)
        if write.plan.action is Action.CREATE and not stored:
            document = _nested(key | values)
            _check_size(document)
            return InsertOne(document, namespace=self._namespace)
        if write.plan.action is Action.REMOVE and not self._marker:
            _check_size(condition)
            return DeleteOne(condition, namespace=self._namespace)
        values = self._placed(values, stored)
        _check_size(condition, values)
        return UpdateOne(condition, {"$set": values}, namespace=self._namespace)

    def _condition(self, stored: Document) -> Document:
        """What a document holds still, with its subdocuments still there."""
        subdocuments = {path: _NO_ARRAY for path in self._parents if path not in stored}
        return subdocuments | {path: _still(held) for path, held in stored.items()}

    def _placed(self, values: Document, stored: Document) -> Document:
        """Values by the paths to set: MongoDB sets nothing below a null, so such a subdocument is set as a whole.

        Raises ValueError where something else lies in the place of a subdocument.
        """
        gaps = [path for path in self._parents if path in stored]
        placed: Document = {}
        wholes: defaultdict[str, Document] = defaultdict(dict)
        for path, value in values.items():
            gap = next((each for each in gaps if path.startswith(f"{each}.")), None)
            if gap is None:
                placed[path] = value
            elif stored[gap] is None:
                wholes[gap][path.removeprefix(f"{gap}.")] = value
            else:
                raise ValueError(f"{gap} is no subdocument")
        return placed | {gap: _nested(below) for gap, below in wholes.items()}

    def _values(self, write: Write) -> Document:
        """What the write sets, by path. A record that is only marked as deleted is revived by clearing its marker."""
        fields = self._mapping.field_by_name
        values = {
            fields[name].path: write_document_value(fields[name], value)
            for name, value in write.plan.values.items()
        }
        if write.updated_at is not None:
            values[self._mapping.updated_at_path] = write.updated_at
        if self._marker and write.plan.action is not Action.UPDATE:
            values[self._marker.at] = marking(self._marker, deleted=write.plan.action is Action.REMOVE)
        return values

    async def _find(self, query: Document) -> list[tuple[str, Reading]]:
        with _answering():
            # The clock is asked first: what is written while we read looks young, never settled.
            clock = await customer_clock(self._database)
            batches: list[Any] = await self._collection.find_raw_batches(query, self._projection).to_list()
        return [self._reading(raw, clock) for batch in batches for raw in documents_of(batch)]

    def _reading(self, raw: bytes, clock: datetime) -> tuple[str, Reading]:
        document = decode_document(raw)
        stored = {path: stored_at(document, path) for path in self._paths}
        held = {path: stored_at(document, path) for path in self._parents}
        stored |= {path: each for path, each in held.items() if not isinstance(each, dict)}
        updated_at = stored[self._mapping.updated_at_path]
        if not isinstance(updated_at, datetime):
            updated_at = None
        record: Record | None = None
        if not self._is_deleted(document):
            record = {each.name: read_document_value(each, document) for each in self._mapping.fields}
        reading = Reading(record=record, stored=stored, updated_at=updated_at, age=_age(updated_at, clock))
        return self._spell_key(document), reading

    def _is_deleted(self, document: Document) -> bool:
        return self._marker is not None and self._marker.deletes(stored_at(document, self._marker.at))

    def _key(self, key: str) -> UUID | int | str:
        return parse_key(self._mapping.key_kind, key)

    def _spell_key(self, document: Document) -> str:
        """The key of a document as everybody spells it: 3.0 is the integer 3."""
        stored = stored_at(document, self._mapping.key_document)
        key = from_document(self._mapping.key_kind, stored)
        return str(stored if isinstance(key, Unreadable) else key)

    def _key_filter(self, keys: Sequence[str]) -> Document:
        return {
            self._mapping.key_document: {"$in": [self._key(key) for key in keys if self._mapping.is_key(key)]}
        }


def _parents_of(paths: Iterable[str]) -> list[str]:
    """The paths of the subdocuments that lie on the way, outer ones first."""
    names = [path.split(".") for path in paths]
    return sorted({".".join(each[:depth]) for each in names for depth in range(1, len(each))})


def _still(held: Any) -> Document:
    return {"$eq": held} if isinstance(held, list) else {"$eq": held, **_NO_ARRAY}


def _nested(flat: Document) -> Document:
    nested: Document = {}
    for path, value in flat.items():
        *parents, name = path.split(".")
        place = nested
        for parent in parents:
            place = place.setdefault(parent, {})
        place[name] = value
    return nested


def _age(updated_at: datetime | None, clock: datetime) -> timedelta | None:
    return None if updated_at is None else clock.astimezone(UTC) - updated_at.astimezone(UTC)


def _check_size(*parts: Document) -> None:
    size = sum(len(encode(part, codec_options=CODEC)) for part in parts)
    if size > _LARGEST:
        raise ValueError(f"{size} bytes are more than MongoDB takes at once")


def _unfit(write: Write, error: Exception) -> Written:
    # What others raise may quote what the document holds; our own messages never do.
    own = type(error) is ValueError
    why = f": {error}" if own else f" of {', '.join(write.plan.values)} ({type(error).__name__})"
    return Written(Outcome.REJECTED, f"the document side cannot hold a value{why}")


def _judge(result: ClientBulkWriteResult, at: int) -> Written | None:
    if at in result.insert_results:
        return Written(Outcome.APPLIED)
    if at in result.update_results:
        count = result.update_results[at].matched_count
    elif at in result.delete_results:
        count = result.delete_results[at].deleted_count
    else:
        return None
    return Written(Outcome.APPLIED if count else Outcome.SUPERSEDED)


def _judge_beside(error: ClientBulkWriteException, at: int) -> Written | None:
    """How an operation ended beside faults of others; None where the store did not say, or not for good."""
    written = _judge(error.partial_result, at) if error.partial_result else None
    if written and written.outcome is Outcome.APPLIED and error.write_concern_errors:
        return None  # no majority has it: the next primary may never have heard of it
    return written


def _refusal_of_all(error: Any) -> Written | None:
    """That the store refused a whole command, and would again; None where it may have carried it out, or might."""
    if not isinstance(error, OperationFailure) or isinstance(error, WriteConcernError):
        return None
    if error.code is None or error.code in _PASSING or error.has_error_label("RetryableWriteError"):
        return None
    return _refused(error.code)


def _refused(code: int) -> Written:
    return Written(Outcome.REJECTED, f"the document side refused it (code {code})")


def _refusal(fault: Document) -> Written | None:
    if fault["code"] in _PASSING:
        return None
    if fault["code"] != _DUPLICATE:
        return _refused(fault["code"])
    fields = ", ".join(fault.get("keyPattern", ())) or "a field"
    return Written(Outcome.REJECTED, f"unique index on {fields} of the document side")


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except PyMongoError as error:
        raise StoreUnavailableError("the customer database does not answer") from error

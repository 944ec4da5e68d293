"""A digest of every record as it is stored, on each side: by it one can prove later what was left alone."""

import hashlib
from collections.abc import AsyncIterator, Container
from typing import Any

import bson
import polars as pl
import pymongo
from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument

from app.demo.cases import Side
from app.demo.load import BULK_TIMEOUT_SECONDS, Progress
from app.demo.shapes import ENTITIES, Document
from app.stores.admin import ADMIN_TABLES
from app.stores.connections import Stores

FINGERPRINTS = "fingerprints"
SCHEMA = {"entity": pl.String, "side": pl.String, "id": pl.String, "digest": pl.String}
KEY = ("entity", "side", "id")
DIGEST_BYTES = 16
READ_BATCH = 5000
PLAIN: CodecOptions[Document] = CodecOptions(uuid_representation=UuidRepresentation.STANDARD, tz_aware=True)
RAW = PLAIN.with_options(document_class=RawBSONDocument)


async def fingerprints(
    stores: Stores, progress: Progress, *, wanted: Container[tuple[str, str]] = ()
) -> tuple[pl.DataFrame, dict[tuple[str, str], Document]]:
    """The digest of every record of every entity and side, see SCHEMA, and the documents that are wanted.

    Documents are wanted, and kept, by entity and id.
    """
    frames = [await _rows(stores, table._meta.tablename) for table in ADMIN_TABLES]  # noqa: SLF001  (its name)
    kept: dict[tuple[str, str], Document] = {}
    for entity in ENTITIES:
        found = []
        async for raw in _documents(stores, entity, progress):
            key = str(raw["_id"])
            found.append((key, hashlib.blake2b(raw.raw, digest_size=DIGEST_BYTES).hexdigest()))
            if (entity, key) in wanted:
                kept[entity, key] = bson.decode(raw.raw, codec_options=PLAIN)
        frames.append(_frame(entity, Side.DOCUMENT, found))
    return pl.concat(frames), kept


async def _documents(stores: Stores, entity: str, progress: Progress) -> AsyncIterator[RawBSONDocument]:
    """The documents as they are stored: their bytes tell types, scale and order of the fields."""
    collection: Any = stores.customer.get_collection(entity, codec_options=RAW)
    with pymongo.timeout(BULK_TIMEOUT_SECONDS):
        count = 0
        async for raw in collection.find({}, batch_size=READ_BATCH):
            yield raw
            count += 1
            if count % READ_BATCH == 0:
                progress(FINGERPRINTS, READ_BATCH)
    progress(FINGERPRINTS, count % READ_BATCH)


async def _rows(stores: Stores, table: str) -> pl.DataFrame:
    """PostgreSQL's own text of a row has every column in full; the connections' time zone is UTC."""
    found = await stores.admin.fetch(
        f"SELECT id::text, md5(t::text) FROM {table} t", timeout=BULK_TIMEOUT_SECONDS
    )
    return _frame(table, Side.RELATIONAL, [tuple(record) for record in found])


def _frame(entity: str, side: Side, found: list[tuple[str, str]]) -> pl.DataFrame:
    ids, digests = zip(*found, strict=True) if found else ((), ())
    columns = {"entity": [entity] * len(ids), "side": [side.value] * len(ids), "id": ids, "digest": digests}
    return pl.DataFrame(columns, schema=SCHEMA)

"""Reading one side of an entity, batch by batch, into canonical frames.

Everything here is synchronous and holds one batch at a time; each reader has a connection of its own.
"""

from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import polars as pl
import pymongo
from adbc_driver_postgresql import StatementOptions, dbapi
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.errors import ConnectionFailure, CursorNotFound, ExecutionTimeout

from app.errors import StoreUnavailableError
from app.reconciliation.mapping import Side
from app.reconciliation.scanning import canonical
from app.reconciliation.scanning.arrivals import read_ahead
from app.reconciliation.scanning.bson_columns import DocumentDecoder
from app.reconciliation.scanning.canonical import Layout
from app.reconciliation.scanning.sql_columns import ColumnReader, readers_of
from app.reconciliation.sides.bson_records import CODEC, Document, decode_leniently, documents_of
from app.reconciliation.values import Kind, parse_key
from app.stores.connections import database_name
from config.settings import Settings

DOCUMENTS_PER_BATCH = 5_000
BYTES_PER_BATCH = 1 << 20
# Classes of SQLSTATE: connection lost, resources short, stopped by an operator.
_UNAVAILABLE = {"08", "53", "57"}
_QUESTIONS = 6
_DOCUMENTS_TO_JUDGE = 50
# Stores send whole documents faster than parts of them.
_WORTH_READING_WHOLE = 2 / 3


@dataclass(frozen=True)
class KeyRange:
    """Keys from `low` up to but without `high`, spelled as text; None leaves that end open."""

    low: str | None = None
    high: str | None = None

    @property
    def is_open(self) -> bool:
        return self.low is None and self.high is None


def read_documents(settings: Settings, layout: Layout, key_range: KeyRange) -> Generator[pl.DataFrame]:
    """Frames of the document side; raises StoreUnavailableError where it does not answer."""
    decoder = DocumentDecoder(layout)
    with closing(read_ahead(partial(read_raw_documents, settings, layout, key_range))) as batches:
        for raw in batches:
            yield decoder.decode(raw)


def read_raw_documents(settings: Settings, layout: Layout, key_range: KeyRange) -> Generator[bytes]:
    """The same documents as the bytes that the store sends."""
    with failures_of("customer database"), open_customer_client(settings) as client:
        collection = collection_of(client, settings, layout)

        def find(projection: Document | None) -> Any:
            cursor = collection.find_raw_batches({}, projection, batch_size=DOCUMENTS_PER_BATCH)
            return closing(bounded(cursor, layout, key_range))

        with find(None) as batches:
            first: bytes = next(batches, b"")
            projection = projection_of(first, layout)
            if projection is None:
                yield first
                yield from batches
                return
        with find(projection) as batches:
            yield from batches


def open_customer_client(settings: Settings) -> MongoClient[Document]:
    """A client for one scan. A batch may take as long as the store needs, while it answers the driver's heartbeats."""
    milliseconds = int(settings.store_timeout_seconds * 1000)
    return MongoClient(
        settings.url("customer_database_url"),
        # Bounds the heartbeats: one that fails breaks off what is being read.
        connectTimeoutMS=int(patience_seconds(settings) * 1000),
        serverSelectionTimeoutMS=milliseconds,
        appname="astrobookings-core-scan",
    )


def patience_seconds(settings: Settings) -> float:
    """The longest time in which a store neither sends nor answers: one under full load may leave a question or two."""
    return _QUESTIONS * settings.store_timeout_seconds


def ask(settings: Settings, side: Side) -> None:
    """Returns when the store of a side answers on a connection of its own, else raises StoreUnavailableError."""
    if side is Side.RELATIONAL:
        with open_relational(settings):
            return
    with (
        failures_of("customer database"),
        pymongo.timeout(settings.store_timeout_seconds),
        open_customer_client(settings) as client,
    ):
        client.admin.command("ping")


def collection_of(client: MongoClient[Document], settings: Settings, layout: Layout) -> Collection[Document]:
    database = client[database_name(settings.url("customer_database_url"))]
    return database.get_collection(layout.collection, codec_options=CODEC)


def bounded(cursor: Any, layout: Layout, key_range: KeyRange) -> Any:
    """The cursor, limited to the range by index bounds.

    Unlike a filter, index bounds do not leave out keys of another BSON type: those lie before the first or behind the
    last range, so that every document is in exactly one.
    """
    if key_range.is_open:
        return cursor
    if key_range.low is not None:
        cursor = cursor.min([(layout.key.path, parse_key(layout.key.kind, key_range.low))])
    if key_range.high is not None:
        cursor = cursor.max([(layout.key.path, parse_key(layout.key.kind, key_range.high))])
    return cursor.hint([(layout.key.path, 1)])


def projection_of(raw: bytes, layout: Layout) -> Document | None:
    """The top-level fields that the layout reads, or None where leaving out the others would save little.

    Judged by the first documents of `raw`. Subdocuments come whole: where a path leads through something else, a
    projection of the path would hide that.
    """
    wanted = {path.split(".")[0] for path in layout.paths}
    size = used = 0
    for each in islice(documents_of(raw), _DOCUMENTS_TO_JUDGE):
        for name, value in decode_leniently(each).items():
            length = len(name) + len(str(value))
            size += length
            used += length if name in wanted else 0
    if used >= _WORTH_READING_WHOLE * size:
        return None
    return {"_id": 0} | dict.fromkeys(sorted(wanted), 1)


def read_relational(settings: Settings, layout: Layout, key_range: KeyRange) -> Generator[pl.DataFrame]:
    """Frames of the relational side, all of one moment; raises StoreUnavailableError where it does not answer."""
    with open_relational(settings) as cursor:
        readers = readers_of(cursor, layout)
        cursor.execute(select(layout, readers, key_range))
        for batch in cursor.fetch_record_batch():
            key, *cells = (reader.read(batch.column(at)) for at, reader in enumerate(readers))
            yield canonical.assemble(layout, key, cells)


@contextmanager
def open_relational(settings: Settings) -> Iterator[Any]:
    """A cursor in a read-only transaction of the admin DB that sees one moment."""
    seconds = max(1, int(settings.store_timeout_seconds))
    url = settings.url("admin_database_url")
    separator = "&" if "?" in url else "?"
    # The driver takes every text for UTF-8, but is sent the encoding of the database unless it asks for another one.
    url += (
        f"{separator}connect_timeout={seconds}&application_name=astrobookings-core-scan&client_encoding=UTF8"
    )
    hint = {StatementOptions.BATCH_SIZE_HINT_BYTES.value: str(BYTES_PER_BATCH)}
    with (
        failures_of("admin database"),
        dbapi.connect(url) as connection,
        connection.cursor(adbc_stmt_kwargs=hint) as cursor,
    ):
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        # Literals in what follows are quoted by doubling the quote.
        cursor.execute("SET LOCAL standard_conforming_strings = on")
        yield cursor


def select(layout: Layout, readers: list[ColumnReader], key_range: KeyRange) -> str:
    """The query of a range. Its bounds are literals, because what has parameters is not sent as COPY."""
    columns = ", ".join(reader.expression for reader in readers)
    return f"SELECT {columns} {layout.source}{where_clause(layout, key_range)}"


def where_clause(layout: Layout, key_range: KeyRange) -> str:
    """The condition of the rows of a range, with a leading space; empty where every row is one."""
    terms = [layout.live] if layout.live else []
    terms += [
        f"{key_order(layout)} {sign} {_literal(layout.key.kind, text)}"
        for sign, text in ((">=", key_range.low), ("<", key_range.high))
        if text is not None
    ]
    return f" WHERE {' AND '.join(terms)}" if terms else ""


def key_order(layout: Layout) -> str:
    """The key in the order that the document side has: text goes by its bytes there."""
    return layout.key.expression + (' COLLATE "C"' if layout.key.kind is Kind.TEXT else "")


def _literal(kind: Kind, text: str) -> str:
    spelled = str(parse_key(kind, text)).replace("'", "''")
    return spelled if kind is Kind.INTEGER else f"'{spelled}'"


@contextmanager
def failures_of(store: str) -> Iterator[None]:
    """Raises StoreUnavailableError for what drivers raise when a store is away, stops or breaks off."""
    try:
        yield
    except (ConnectionFailure, CursorNotFound, ExecutionTimeout, OSError) as error:
        raise StoreUnavailableError(f"the {store} does not answer") from error
    except dbapi.Error as error:
        if isinstance(error, dbapi.OperationalError) or (error.sqlstate or "")[:2] in _UNAVAILABLE:
            raise StoreUnavailableError(f"the {store} does not answer") from error
        raise

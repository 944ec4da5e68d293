"""Looks at everything that the system needs and says what to do about each fault."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import asyncpg
from pymongo import AsyncMongoClient
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

from app.accounts.key_use import IN_USE, count_rows
from app.audit.archiving.kept import read_kept
from app.audit.archiving.turn import FILLING
from app.audit.rights import FORBIDDEN, NEEDED, lacking, let_through
from app.audit.sealing.stream import ChainBrokenError
from app.audit.store import AuditStore
from app.audit.verdicts import VERIFIER, read_verdicts
from app.checks import Check, expect
from app.clock import now
from app.errors import CoreError
from app.notifications.delivering import health as mail
from app.notifications.delivering.transports.opening import configured
from app.notifications.troubles import UNVERIFIED
from app.reconciliation.mapping import Mapping, load_mappings, mappings
from app.reconciliation.sides.document_rights import Privilege, rights_missing
from app.reconciliation.sides.relational import rights_needed, select_clause
from app.stores.connections import Document, open_customer_client, open_redis
from app.stores.core import CORE_TABLES
from app.stores.health import FAULTS
from config.settings import PREFIX, Settings, SettingsError

# Clocks further apart than this make "changed lately" unreliable.
SKEW_SECONDS = 1.0
_POSTGRES_LEAST = 180_000
_MONGO_LEAST = (8, 0)
_REDIS_STORES = {"broker_url": "broker", "audit_url": "audit", "logs_url": "logs"}


async def doctor(settings: Settings) -> list[Check]:
    """Look at every store and say what to do about each fault."""
    looks: list[tuple[str, Callable[[], Awaitable[list[Check]]]]] = [
        ("core database", lambda: _look_at_core(settings)),
        ("keys", lambda: _look_at_keys(settings)),
        ("admin database", lambda: _look_at_admin(settings)),
        ("customer database", lambda: _look_at_customer(settings)),
        *((f"{label} store", _redis_look(settings, name, label)) for name, label in _REDIS_STORES.items()),
        ("audit store rights", lambda: _look_at_rights(settings)),
        ("audit store entries", lambda: _look_at_entries(settings)),
        ("audit store memory", lambda: _look_at_memory(settings)),
        ("audit archives", lambda: _look_at_archives(settings)),
        ("audit verification", lambda: _look_at_verification(settings)),
        *(
            (f"mail by {each}", partial(mail.look_at_service, settings, each))
            for each in configured(settings)
        ),
        ("mail", lambda: _look_at_mail(settings)),
    ]
    checks: list[Check] = []
    for name, look in looks:
        try:
            async with asyncio.timeout(settings.store_timeout_seconds):
                checks += await look()
        except SettingsError as error:
            checks.append(Check(name, ok=False, found="not configured", advice=str(error)))
        except (CoreError, *FAULTS) as error:
            advice = "start it, or correct its URL (astrocore config shows where it comes from)"
            checks.append(
                Check(name, ok=False, found=f"does not answer ({type(error).__name__})", advice=advice)
            )
    return checks


async def _look_at_core(settings: Settings) -> list[Check]:
    async with _connection(settings, "core_database_url") as connection:
        rows = await connection.fetch(
            "SELECT table_name || '.' || column_name AS place FROM information_schema.columns "
            "WHERE table_schema = current_schema()"
        )
        held = {row["place"] for row in rows}
        wanted = {
            f"{table._meta.tablename}.{column._meta.db_column_name}"  # noqa: SLF001  (Piccolo's public data)
            for table in CORE_TABLES
            for column in table._meta.columns  # noqa: SLF001
        }
        return [
            *await _look_at_postgres(connection, "core database"),
            expect("core schema", sorted(wanted - held), "run `astrocore migrate`"),
        ]


async def _look_at_keys(settings: Settings) -> list[Check]:
    async with _connection(settings, "core_database_url") as connection:
        return [_keys(settings, name, await count_rows(connection, name)) for name in IN_USE]


def _keys(settings: Settings, name: str, used: dict[str, int]) -> Check:
    """How many rows need each key: one that none needs, and that is not the first, can be taken away."""
    known = list(settings.keys(name))
    missing = sorted(used.keys() - known)
    found = "rows under " + ", ".join(f"{key}: {used.get(key, 0):,}" for key in (*known, *missing))
    advice = f"{PREFIX}{name.upper()} lacks {', '.join(missing)}, without which these rows are of no use"
    return Check(name.replace("_", " "), ok=not missing, found=found, advice=advice if missing else None)


async def _look_at_admin(settings: Settings) -> list[Check]:
    load_mappings(settings.mappings)
    async with _connection(settings, "admin_database_url") as connection:
        checks = await _look_at_postgres(connection, "admin database")
        for mapping in mappings().values():
            checks += await _look_at_table(connection, mapping)
        return checks


async def _look_at_table(connection: asyncpg.Connection, mapping: Mapping) -> list[Check]:
    name = f"admin table {mapping.table}"
    try:
        await connection.fetch(f"EXPLAIN {select_clause(mapping)} WHERE false")
    except asyncpg.InsufficientPrivilegeError:
        return [Check(name, ok=False, found="no right to read it", advice=f"GRANT SELECT ON {mapping.table}")]
    except asyncpg.PostgresError as error:
        advice = f"the mapping {mapping.entity} does not fit it"
        return [Check(name, ok=False, found=str(error).splitlines()[0], advice=advice)]
    missing = [
        right
        for right in rights_needed(mapping)
        if not await connection.fetchval("SELECT has_table_privilege($1, $2)", mapping.table, right)
    ]
    return [expect(name, missing, f"GRANT {', '.join(missing)} ON {mapping.table}")]


async def _look_at_postgres(connection: asyncpg.Connection, name: str) -> list[Check]:
    number = int(await connection.fetchval("SHOW server_version_num"))
    read_only = await connection.fetchval("SHOW transaction_read_only") == "on"
    clock: datetime = await connection.fetchval("SELECT clock_timestamp()")
    return [
        Check(
            f"{name} version",
            ok=number >= _POSTGRES_LEAST,
            found=str(await connection.fetchval("SHOW server_version")),
            advice=None if number >= _POSTGRES_LEAST else "PostgreSQL 18 or newer is needed (uuidv7)",
        ),
        Check(
            f"{name} writable",
            ok=not read_only,
            found="read-only" if read_only else "yes",
            advice="connect to the primary" if read_only else None,
        ),
        _clock(name, clock),
    ]


async def _look_at_customer(settings: Settings) -> list[Check]:
    load_mappings(settings.mappings)
    client, database = open_customer_client(settings)
    async with client:
        hello = await client.admin.command("hello")
        version = str((await client.server_info())["version"])
        privileges = await _privileges(client)
    replicated = bool(hello.get("setName"))
    recent = tuple(map(int, version.split(".")[:2])) >= _MONGO_LEAST
    return [
        Check(
            "customer database version",
            ok=recent,
            found=version,
            advice=None if recent else "MongoDB 8.0 or newer is needed (client-level bulkWrite)",
        ),
        Check(
            "customer database replica set",
            ok=replicated,
            found=str(hello.get("setName") or "none"),
            advice=None if replicated else "run it as a replica set, of one node at least",
        ),
        Check(
            "customer database writable",
            ok=bool(hello.get("isWritablePrimary")),
            found="yes" if hello.get("isWritablePrimary") else "not the primary",
            advice=None if hello.get("isWritablePrimary") else "connect to the primary",
        ),
        _clock("customer database", hello["localTime"].replace(tzinfo=hello["localTime"].tzinfo or UTC)),
        *([] if privileges is None else _customer_rights(database.name, privileges)),
    ]


async def _privileges(client: AsyncMongoClient[Document]) -> list[Privilege] | None:
    """What the user may do; None where nobody is asked who they are."""
    told = (await client.admin.command("connectionStatus", showPrivileges=True))["authInfo"]
    return list(told["authenticatedUserPrivileges"]) if told["authenticatedUsers"] else None


def _customer_rights(database: str, privileges: list[Privilege]) -> list[Check]:
    missing: dict[str, set[str]] = {"": set()}
    for mapping in mappings().values():
        missing.setdefault(mapping.collection, set())
        for collection, actions in rights_missing(mapping, database, privileges).items():
            missing.setdefault(collection, set()).update(actions)
    return [
        expect(
            f"customer collection {collection}" if collection else "customer database collections",
            sorted(actions),
            f"grant {', '.join(sorted(actions))} on {database}{'.' if collection else ''}{collection}",
        )
        for collection, actions in missing.items()
    ]


def _redis_look(settings: Settings, name: str, label: str) -> Callable[[], Awaitable[list[Check]]]:
    async def look() -> list[Check]:
        async with open_redis(settings.url(name)) as redis:
            return await _look_at_redis(redis, label, await _fsync(settings, name))

    return look


async def _fsync(settings: Settings, name: str) -> str:
    """When the server writes to its disk: of the audit store its retention user may know, not the service's."""
    is_audit = name == "audit_url" and settings.audit_retention_url is not None
    async with open_redis(settings.url("audit_retention_url" if is_audit else name)) as redis:
        try:
            return str((await redis.config_get("appendfsync"))["appendfsync"])
        except NoPermissionError:
            return "unknown"


async def _look_at_redis(redis: Redis, label: str, fsync: str) -> list[Check]:
    server = await redis.info()
    policy = server["maxmemory_policy"]
    appending = server["aof_enabled"] == 1
    wanted = "always" if label == "audit" else "everysec"
    durable = appending and fsync in {"always", wanted}
    seconds, micros = await redis.time()
    version = server.get("valkey_version") or server["redis_version"]
    return [
        Check(f"{label} store version", ok=True, found=str(version)),
        Check(
            f"{label} store eviction",
            ok=policy == "noeviction",
            found=str(policy),
            advice=None
            if policy == "noeviction"
            else "set maxmemory-policy noeviction: nothing may be dropped",
        ),
        Check(
            f"{label} store durability",
            ok=durable,
            found=f"append-only file, fsync {fsync}" if appending else "no append-only file",
            advice=None if durable else f"set appendonly yes and appendfsync {wanted}",
        ),
        _clock(f"{label} store", datetime.fromtimestamp(seconds + micros / 1e6, UTC)),
    ]


async def _look_at_rights(settings: Settings) -> list[Check]:
    prefix = f"{settings.namespace}:audit:"
    async with open_redis(settings.url("audit_url")) as redis:
        excess = await let_through(redis, FORBIDDEN, f"{prefix}doctor")
        missing = await lacking(redis, NEEDED, prefix)
    advice = "give its user the rights of docs/audit.md"
    retained = settings.audit_retention_url is not None
    return [
        Check(
            "audit store rights",
            ok=not excess,
            found=f"may {', '.join(excess[:5])}{' …' if excess[5:] else ''}"
            if excess
            else "appends and reads",
            advice=advice if excess else None,
        ),
        expect("audit store appends", missing, advice),
        Check(
            "audit store retention user",
            ok=retained,
            found="set" if retained else "not set",
            advice=None
            if retained
            else f"set {PREFIX}AUDIT_RETENTION_URL, the store as the user of docs/audit.md that may remove entries",
        ),
    ]


async def _look_at_entries(settings: Settings) -> list[Check]:
    async with open_redis(settings.url("audit_url")) as redis:
        count = await AuditStore(redis, settings.namespace).count()
    found = f"{count.length} of {count.counted - count.archived}"
    advice = "entries were removed or added past the service: `astrocore audit verify` names them"
    return [
        Check(
            "audit store entries", ok=not count.missing, found=found, advice=advice if count.missing else None
        ),
    ]


async def _look_at_memory(settings: Settings) -> list[Check]:
    async with open_redis(settings.url("audit_url")) as redis:
        used, budget = (await redis.info(section="memory"))["used_memory"] / 2**20, settings.audit_megabytes
    good = used < FILLING * budget
    advice = f"raise {PREFIX}AUDIT_MEGABYTES, or lower {PREFIX}AUDIT_DAYS: past the budget entries move to archives"
    return [
        Check(
            "audit store memory",
            ok=good,
            found=f"{used:,.0f} of {budget:,} MB",
            advice=None if good else advice,
        )
    ]


async def _look_at_archives(settings: Settings) -> list[Check]:
    async with _connection(settings, "core_database_url") as connection:
        rows = await connection.fetch("SELECT number, bytes, tombstone FROM audit_archives ORDER BY number")
    try:
        files = [(read_kept(row).file, row["bytes"]) for row in rows]
    except ChainBrokenError as error:
        return [
            Check("audit archives", ok=False, found=str(error), advice="`astrocore audit verify` tells more")
        ]
    lacking = [file for file, size in files if _size_of(settings.archive_dir / file) != size]
    advice = f"`astrocore audit restore` takes them back from a backup, into {settings.archive_dir}"
    return [expect("audit archives", lacking, advice)]


async def _look_at_verification(settings: Settings) -> list[Check]:
    async with _connection(settings, "core_database_url") as connection:
        verdict = (await read_verdicts(connection)).get(VERIFIER)
    name = "audit verification"
    if verdict is None:
        return [Check(name, ok=True, found="not yet: a worker does it every night")]
    at = f"{verdict.said_at:%Y-%m-%d %H:%M} UTC"
    if verdict.place:
        advice = "`astrocore audit verify` tells more; find out who did it before anything is mended"
        return [Check(name, ok=False, found=f"{at}: {verdict.reason}", advice=advice)]
    late = now() - verdict.said_at > UNVERIFIED
    advice = "`astrocore logs --text task:verify_entries` tells why the worker does not come to an end of it"
    return [Check(name, ok=not late, found=f"{at}: no fault", advice=advice if late else None)]


async def _look_at_mail(settings: Settings) -> list[Check]:
    checks = mail.look_at_settings(settings)
    async with _connection(settings, "core_database_url") as connection:
        return checks + await mail.look_at_mail(connection, settings)


def _size_of(file: Path) -> int | None:
    try:
        return file.stat().st_size
    except OSError:
        return None


def _clock(name: str, clock: datetime) -> Check:
    skew = (clock - now()).total_seconds()
    good = abs(skew) <= SKEW_SECONDS
    return Check(
        f"{name} clock",
        ok=good,
        found=f"{skew:+.2f} s from here",
        advice=None if good else "synchronise the clocks (NTP)",
    )


@asynccontextmanager
async def _connection(settings: Settings, name: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(settings.url(name), timeout=settings.store_timeout_seconds)
    try:
        yield connection
    finally:
        await connection.close()

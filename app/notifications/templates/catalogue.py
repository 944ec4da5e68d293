"""Templates in the core DB: versions that never change, one of which is current, and a switch that stops them.

Every change is told to the audit, in the same transaction.
"""

import asyncio
from typing import Any

import asyncpg
import msgspec
from msgspec import Struct

from app.audit.entries import Fact
from app.audit.outbox import record
from app.errors import ConflictError, InvalidInputError, NotFoundError
from app.notifications.templates.checking import faults_in_content
from app.notifications.templates.content import Content, Kind, Texts
from app.notifications.templates.rendering import FALLBACK, Rendered, render
from app.notifications.templates.schemas import faults_in_data
from app.notifications.templates.views import TemplateDetail, TemplateView, VersionDetail, VersionView
from app.stores.connections import Stores

ENTITY = "notification-templates"

_TEMPLATES = """
    SELECT t.*, ARRAY(SELECT jsonb_object_keys(v.locales) ORDER BY 1) AS locales
    FROM notification_templates t JOIN template_versions v ON v.name = t.name AND v.version = t.current
"""
_VERSIONS = """
    SELECT version, ARRAY(SELECT jsonb_object_keys(locales) ORDER BY 1) AS locales, shipped_hash IS NOT NULL AS shipped,
        made_by, made_at
    FROM template_versions WHERE name = $1 ORDER BY version DESC
"""


class Version(Struct, frozen=True):
    """What a mail is made from: one version of a template, and whether it may go."""

    name: str
    kind: Kind
    enabled: bool
    disabled_because: str | None
    version: int
    content: Content


async def list_templates(stores: Stores) -> list[TemplateView]:
    """Every template, by name."""
    return [_view(row) for row in await stores.core.fetch(f"{_TEMPLATES} ORDER BY t.name")]


async def get_template(stores: Stores, name: str) -> TemplateDetail:
    """One template with its versions; raises NotFoundError."""
    row = await stores.core.fetchrow(f"{_TEMPLATES} WHERE t.name = $1", name)
    if row is None:
        raise _unknown(name)
    versions = [VersionView(**each) for each in await stores.core.fetch(_VERSIONS, name)]
    return TemplateDetail(_view(row), await get_version(stores, name, row["current"]), versions)


async def kind_of(stores: Stores, name: str) -> Kind:
    """What kind of mail a template is for; raises NotFoundError."""
    kind = await stores.core.fetchval("SELECT kind FROM notification_templates WHERE name = $1", name)
    if kind is None:
        raise _unknown(name)
    return Kind(kind)


async def get_version(stores: Stores, name: str, version: int) -> VersionDetail:
    """One version as it was written; raises NotFoundError."""
    row = await stores.core.fetchrow(
        "SELECT *, shipped_hash IS NOT NULL AS shipped FROM template_versions WHERE name = $1 AND version::text = $2",
        name,
        str(version),  # of whatever size it was asked for
    )
    if row is None:
        raise NotFoundError(f"no version {version} of a template {name}")
    about = {each: row[each] for each in ("version", "shipped", "made_by", "made_at")}
    return VersionDetail(**about, **msgspec.structs.asdict(_content(row)))


async def load_version(
    core: asyncpg.Pool | asyncpg.Connection, name: str, version: int | None = None
) -> Version:
    """What a mail is made from: the current version, or the one that it was asked for with; raises NotFoundError."""
    row = await core.fetchrow(
        """
        SELECT t.name, t.kind, t.enabled, t.disabled_because, v.version, v.schema, v.locales, v.sample
        FROM notification_templates t JOIN template_versions v ON v.name = t.name AND v.version = COALESCE($2, t.current)
        WHERE t.name = $1
        """,
        name,
        version,
    )
    if row is None:
        raise (
            _unknown(name) if version is None else NotFoundError(f"no version {version} of a template {name}")
        )
    return Version(
        name=name,
        kind=Kind(row["kind"]),
        enabled=row["enabled"],
        disabled_because=row["disabled_because"],
        version=row["version"],
        content=_content(row),
    )


async def add_version(
    stores: Stores,
    name: str,
    content: Content,
    *,
    by: str,
    reason: str,
    current: bool = True,
    revision: int | None = None,
) -> TemplateDetail:
    """Keep a version that an operator has written, and make it current unless it is to be looked at first.

    Raises NotFoundError; InvalidInputError with every fault; ConflictError where the template is not at `revision` any more.
    """
    if faults := await asyncio.to_thread(faults_in_content, content):
        raise InvalidInputError("no version of a template", faults)
    async with stores.core.acquire() as connection, connection.transaction():
        row = await _lock(connection, name, revision)
        version = await insert_version(connection, name, content, by=by)
        chosen = version if current else row["current"]
        await _update(connection, name, current=chosen)
        detail = {"version": version, "current": chosen}
        await note(connection, Fact.TEMPLATE_CHANGED, name, by=by, reason=reason, detail=detail)
    return await get_template(stores, name)


async def choose_version(
    stores: Stores, name: str, version: int, *, by: str, reason: str, revision: int | None = None
) -> TemplateDetail:
    """Render mails from another version from now on, an earlier one say.

    Raises NotFoundError; ConflictError where it is current already, or the template is not at `revision` any more.
    """
    async with stores.core.acquire() as connection, connection.transaction():
        before = (await _lock(connection, name, revision))["current"]
        await load_version(connection, name, version)
        if before == version:
            raise ConflictError(f"version {version} of template {name} is current already")
        await _update(connection, name, current=version)
        detail = {"before": before, "after": version}
        await note(connection, Fact.TEMPLATE_CHOSEN, name, by=by, reason=reason, detail=detail)
    return await get_template(stores, name)


async def enable_template(
    stores: Stores, name: str, *, enabled: bool, by: str, reason: str
) -> TemplateDetail:
    """Let mails go out from a template, or none any more. Raises NotFoundError; ConflictError where it is so already."""
    async with stores.core.acquire() as connection, connection.transaction():
        row = await _lock(connection, name)
        if row["enabled"] == enabled:
            raise ConflictError(f"template {name} is {'enabled' if enabled else 'disabled'} already")
        because = None if enabled else reason
        await _update(connection, name, enabled=enabled, disabled_because=because)
        fact = Fact.TEMPLATE_ENABLED if enabled else Fact.TEMPLATE_DISABLED
        await note(connection, fact, name, by=by, reason=reason)
    return await get_template(stores, name)


async def preview(
    stores: Stores,
    name: str,
    *,
    version: int | None = None,
    locale: str = FALLBACK,
    data: dict[str, Any] | None = None,
) -> Rendered:
    """A mail as it would be, with these data or with the sample.

    Raises NotFoundError; InvalidInputError with everything that is wrong with the data, or with the template.
    """
    template = await load_version(stores.core, name, version)
    given = template.content.sample if data is None else data
    return await asyncio.to_thread(fill_in, template, given, locale=locale)


def fill_in(template: Version, data: dict[str, Any], *, locale: str) -> Rendered:
    """The mail for data that nobody has checked yet; raises InvalidInputError with every fault."""
    if faults := faults_in_data(template.content.schema, data):
        raise InvalidInputError(f"the data do not fit the template {template.name}", faults)
    return render(template.content, data, locale=locale)


async def insert_version(
    connection: asyncpg.Connection, name: str, content: Content, *, by: str, shipped_hash: str | None = None
) -> int:
    """Add a version behind the last one, whose row is locked; answers its number."""
    parts = (content.schema, content.locales, content.sample)
    number: int = await connection.fetchval(
        """
        INSERT INTO template_versions (name, version, schema, locales, sample, made_by, shipped_hash)
        SELECT $1, COALESCE(max(version), 0) + 1, $2, $3, $4, $5, $6 FROM template_versions WHERE name = $1
        RETURNING version
        """,
        name,
        *(msgspec.json.encode(each).decode() for each in parts),
        by,
        shipped_hash,
    )
    return number


async def note(
    connection: asyncpg.Connection,
    fact: Fact,
    name: str,
    *,
    by: str,
    reason: str | None = None,
    detail: dict[str, Any] | None = None,
) -> None:
    """Tell the audit about a template."""
    await record(connection, fact, by=by, target=name, reason=reason, detail=detail, entity=ENTITY, key=name)


async def _lock(connection: asyncpg.Connection, name: str, revision: int | None = None) -> asyncpg.Record:
    row = await connection.fetchrow("SELECT * FROM notification_templates WHERE name = $1 FOR UPDATE", name)
    if row is None:
        raise _unknown(name)
    if revision is not None and revision != row["revision"]:
        raise ConflictError(
            f"template {name} has changed meanwhile: it is at revision {row['revision']}",
            f"/v1/notification-templates/{name}",
        )
    return row


async def _update(connection: asyncpg.Connection, name: str, **values: Any) -> None:
    columns = ", ".join(f"{column} = ${place}" for place, column in enumerate(values, start=2))
    await connection.execute(
        f"UPDATE notification_templates SET {columns}, revision = revision + 1, updated_at = now() WHERE name = $1",
        name,
        *values.values(),
    )


def _view(row: asyncpg.Record) -> TemplateView:
    return TemplateView(**{**row, "kind": Kind(row["kind"])})


def _content(row: asyncpg.Record) -> Content:
    return Content(
        schema=msgspec.json.decode(row["schema"]),
        locales=msgspec.json.decode(row["locales"], type=dict[str, Texts]),
        sample=msgspec.json.decode(row["sample"]),
    )


def _unknown(name: str) -> NotFoundError:
    return NotFoundError(f"no template {name}")

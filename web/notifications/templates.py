"""Templates of mails over HTTP."""

from typing import Annotated, Any

from litestar import Controller, Response, get, post
from litestar.params import FromPath, JSONBody
from msgspec import Meta, Struct

from app.accounts.admission import Caller
from app.accounts.permissions import Scope
from app.errors import ForbiddenError
from app.locales import Locale
from app.notifications.templates import catalogue
from app.notifications.templates.content import Content, Kind, Texts
from app.notifications.templates.rendering import FALLBACK, Rendered
from app.notifications.templates.views import TemplateDetail, TemplateView, VersionDetail
from app.stores.connections import Stores
from web.guards import Calling, needs
from web.inputs import Decision, Reason
from web.stores import Opened

TEMPLATES = "/v1/notification-templates"
# Whoever changes what a mail says can ask people for things in our name: an operator's scope, no service's.
WRITE = needs(Scope.QUEUES_OPERATE)

Number = Annotated[int, Meta(ge=1, le=2**31 - 1)]


class NewVersion(Struct, forbid_unknown_fields=True):
    """A version of a template. With `current` false mails stay as they are, and it can be looked at first."""

    reason: Reason
    schema: dict[str, Any]
    locales: dict[str, Texts]
    sample: dict[str, Any]
    current: bool = True
    revision: Number | None = None


class Choice(Decision, forbid_unknown_fields=True, kw_only=True):
    """The version that mails are rendered from, and why."""

    version: Number
    revision: Number | None = None


class PreviewOrder(Struct, forbid_unknown_fields=True):
    """What to show: the sample, the current version and English where nothing else is said."""

    data: dict[str, Any] | None = None
    version: Number | None = None
    locale: Locale = FALLBACK


class Templates(Controller):
    """What mails are rendered from. `revision` counts a template's changes: 409 where it is given and there was another one."""

    path = "/notification-templates"
    tags = ("notifications",)
    opt = needs(Scope.NOTIFICATIONS_READ)

    @get(summary="List templates")
    async def list_templates(self, stores: Opened) -> list[TemplateView]:
        return await catalogue.list_templates(stores)

    @get("/{name:str}", summary="Show a template, its current content and its versions")
    async def get_template(self, stores: Opened, name: FromPath[str]) -> TemplateDetail:
        return await catalogue.get_template(stores, name)

    @get("/{name:str}/versions/{version:int}", summary="Show a version of a template")
    async def get_template_version(
        self, stores: Opened, name: FromPath[str], version: FromPath[int]
    ) -> VersionDetail:
        return await catalogue.get_version(stores, name, version)

    @post("/{name:str}/versions", summary="Add a version of a template", opt=WRITE)
    async def add_template_version(
        self, stores: Opened, caller: Calling, name: FromPath[str], data: JSONBody[NewVersion]
    ) -> Response[TemplateDetail]:
        """422 lists every fault: each locale must compile, and render the sample, also without what its schema does not require."""
        await _check_theirs(stores, caller, name)
        made = await catalogue.add_version(
            stores,
            name,
            Content(data.schema, data.locales, data.sample),
            by=caller.name,
            reason=data.reason,
            current=data.current,
            revision=data.revision,
        )
        location = f"{TEMPLATES}/{name}/versions/{made.versions[0].version}"
        return Response(made, status_code=201, headers={"Location": location})

    @post("/{name:str}/current", status_code=200, summary="Render mails from another version", opt=WRITE)
    async def choose_template_version(
        self, stores: Opened, caller: Calling, name: FromPath[str], data: JSONBody[Choice]
    ) -> TemplateDetail:
        """Mails that were asked for already keep the version that was current then."""
        await _check_theirs(stores, caller, name)
        return await catalogue.choose_version(
            stores, name, data.version, by=caller.name, reason=data.reason, revision=data.revision
        )

    @post("/{name:str}/disable", status_code=200, summary="Let no mail of a template go out", opt=WRITE)
    async def disable_template(
        self, stores: Opened, caller: Calling, name: FromPath[str], data: JSONBody[Decision]
    ) -> TemplateDetail:
        await _check_theirs(stores, caller, name)
        return await catalogue.enable_template(
            stores, name, enabled=False, by=caller.name, reason=data.reason
        )

    @post("/{name:str}/enable", status_code=200, summary="Let mails of a template go out again", opt=WRITE)
    async def enable_template(
        self, stores: Opened, caller: Calling, name: FromPath[str], data: JSONBody[Decision]
    ) -> TemplateDetail:
        await _check_theirs(stores, caller, name)
        return await catalogue.enable_template(stores, name, enabled=True, by=caller.name, reason=data.reason)

    @post("/{name:str}/preview", status_code=200, summary="Show a mail as it would be")
    async def preview_template(
        self, stores: Opened, name: FromPath[str], data: JSONBody[PreviewOrder]
    ) -> Rendered:
        """Nothing is sent or kept. 422 lists everything that is wrong with the data."""
        return await catalogue.preview(stores, name, version=data.version, locale=data.locale, data=data.data)


async def _check_theirs(stores: Stores, caller: Caller, name: str) -> None:
    """Refuse whoever could have what an admin is mailed, a link say, told to themselves, and so become one. Raises 403, 404."""
    if Scope.CLIENTS_ADMIN not in caller.scopes and await catalogue.kind_of(stores, name) is Kind.SECURITY:
        raise ForbiddenError(f"what mails about accounts say needs the scope {Scope.CLIENTS_ADMIN}")

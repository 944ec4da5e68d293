"""Addresses that get no mail, over HTTP."""

from typing import Annotated

from litestar import Controller, Response, delete, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromQuery, JSONBody, QueryParameter

from app.accounts.addresses import address
from app.accounts.permissions import Scope as Permission
from app.clock import now
from app.notifications.addresses import blocking, suppressing
from app.notifications.ledger.views import Scope, SuppressionView
from app.pages import LIMIT_DEFAULT, Page
from web.guards import Calling, needs
from web.inputs import Cursor, Limit, Why
from web.notifications.inputs import Address, NewSuppression
from web.stores import Opened


class Suppressions(Controller):
    """Blocked addresses: after a hard bounce or a complaint, because their owners want no such mail, or by an operator."""

    path = "/notifications/suppressions"
    tags = ("notifications",)
    opt = needs(Permission.QUEUES_OPERATE)

    @get(summary="List addresses that get no mail, or none of a kind")
    async def list_suppressions(
        self,
        *,
        stores: Opened,
        email: Address = None,
        limit: Limit = LIMIT_DEFAULT,
        cursor: Cursor = None,
    ) -> Page[SuppressionView]:
        key = None if email is None else address(email).key
        return await suppressing.list_suppressions(stores, email_key=key, limit=limit, cursor=cursor)

    @post(
        summary="Let an address get no mail, or none of a kind",
        responses={200: ResponseSpec(SuppressionView, description="It is blocked so already")},
    )
    async def add_suppression(
        self, stores: Opened, caller: Calling, data: JSONBody[NewSuppression]
    ) -> Response[SuppressionView]:
        """Mail that waits for it is not sent either. Answers 200 where the address is blocked so already."""
        made, view = await blocking.block(
            stores, address(data.email).key, data.scope, by=caller.name, note=data.reason, moment=now()
        )
        return Response(view, status_code=201 if made else 200)

    @delete(summary="Let an address get mail again")
    async def remove_suppression(
        self,
        *,
        stores: Opened,
        caller: Calling,
        email: Annotated[str, QueryParameter(max_length=320)],
        reason: Why,
        kind: FromQuery[Scope] = "all",
    ) -> None:
        """`kind` is the `scope` of the block. Whoever complained, or whose address does not exist, is written to again."""
        await suppressing.lift(stores, address(email).key, kind, by=caller.name, reason=reason)

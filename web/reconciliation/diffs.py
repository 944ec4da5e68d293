"""Diffs over HTTP."""

from uuid import UUID

from litestar import Controller, get, post
from litestar.params import FromPath, FromQuery, JSONBody

from actors import reconciliation as actors
from app.accounts.permissions import Scope
from app.pages import LIMIT_DEFAULT, Page
from app.reconciliation.deciding import decisions
from app.reconciliation.ledger import diffs
from app.reconciliation.ledger.views import DiffView
from web.guards import Calling, needs
from web.inputs import Approval, Approvals, Cursor, Decision, Decisions, DiffStatus, Kind, Limit, RecordId
from web.stores import Opened
from web.waking import wake


class Diffs(Controller):
    """Confirmed discrepancies."""

    path = "/reconciliation/diffs"
    tags = ("diffs",)
    opt = needs(Scope.RECONCILIATION_READ)

    @get(summary="List diffs, the latest first")
    async def list_diffs(
        self,
        *,
        stores: Opened,
        entity: FromQuery[str | None] = None,
        id: RecordId = None,  # noqa: A002
        status: FromQuery[DiffStatus | None] = None,
        run_id: FromQuery[UUID | None] = None,
        kind: FromQuery[Kind | None] = None,
        limit: Limit = LIMIT_DEFAULT,
        cursor: Cursor = None,
    ) -> Page[DiffView]:
        return await diffs.list_diffs(
            stores,
            entity=entity,
            key=id,
            status=status,
            run_id=run_id,
            kind=kind,
            limit=limit,
            cursor=cursor,
        )

    @get("/{diff_id:uuid}", summary="Show a diff")
    async def get_diff(self, stores: Opened, diff_id: FromPath[UUID]) -> DiffView:
        return await diffs.get_diff(stores, diff_id)

    @post(
        "/approve",
        status_code=200,
        summary="Settle many diffs with the values of one side",
        opt=needs(Scope.RECONCILIATION_OPERATE),
    )
    async def approve_diffs(
        self, stores: Opened, caller: Calling, data: JSONBody[Approvals]
    ) -> list[DiffView]:
        """All or none: 409 lists every diff that cannot be approved."""
        decided = await decisions.approve(
            stores, data.ids, side=data.side, by=caller.name, reason=data.reason
        )
        await wake(actors.wake_repairs)
        return decided

    @post(
        "/reject",
        status_code=200,
        summary="Leave many diffs as they are",
        opt=needs(Scope.RECONCILIATION_OPERATE),
    )
    async def reject_diffs(
        self, stores: Opened, caller: Calling, data: JSONBody[Decisions]
    ) -> list[DiffView]:
        """All or none: 409 lists every diff that cannot be rejected."""
        return await decisions.reject(stores, data.ids, by=caller.name, reason=data.reason)

    @post(
        "/{diff_id:uuid}/approve",
        status_code=200,
        summary="Settle a diff with the values of one side",
        opt=needs(Scope.RECONCILIATION_OPERATE),
    )
    async def approve_diff(
        self, stores: Opened, caller: Calling, diff_id: FromPath[UUID], data: JSONBody[Approval]
    ) -> DiffView:
        (diff,) = await decisions.approve(
            stores, [diff_id], side=data.side, by=caller.name, reason=data.reason
        )
        await wake(actors.wake_repairs)
        return diff

    @post(
        "/{diff_id:uuid}/reject",
        status_code=200,
        summary="Leave a diff as it is",
        opt=needs(Scope.RECONCILIATION_OPERATE),
    )
    async def reject_diff(
        self, stores: Opened, caller: Calling, diff_id: FromPath[UUID], data: JSONBody[Decision]
    ) -> DiffView:
        (diff,) = await decisions.reject(stores, [diff_id], by=caller.name, reason=data.reason)
        return diff

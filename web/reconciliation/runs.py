"""Runs over HTTP."""

from uuid import UUID

from litestar import Controller, Response, get, patch, post
from litestar.params import FromPath, FromQuery, JSONBody

from actors import reconciliation as actors
from app.accounts.permissions import Scope
from app.pages import LIMIT_DEFAULT, Page
from app.reconciliation.ledger import runs, steering
from app.reconciliation.ledger.views import PartitionView, RunView
from app.reconciliation.running import partitions
from web.guards import Calling, needs
from web.inputs import Cancellation, Cursor, Decision, Limit, Mode, RunChange, RunOrder, RunStatus
from web.stores import Opened
from web.waking import wake

RUNS = "/v1/reconciliation/runs"
WITHOUT_REASON = Cancellation()


class Runs(Controller):
    """Executions of jobs."""

    path = "/reconciliation/runs"
    tags = ("runs",)
    opt = needs(Scope.RECONCILIATION_READ)

    @post(summary="Start a run", opt=needs(Scope.RECONCILIATION_RUN))
    async def start_run(self, stores: Opened, caller: Calling, data: JSONBody[RunOrder]) -> Response[RunView]:
        """Answers 409, with the active run's path as `instance`, while one of this entity and mode is active."""
        run = await runs.start_run(
            stores,
            data.entity,
            mode=data.mode,
            dry_run=data.dry_run,
            records_per_second=data.records_per_second,
            by=caller.name,
        )
        await wake(actors.wake_run, run.id)
        return Response(run, status_code=201, headers={"Location": f"{RUNS}/{run.id}"})

    @get(summary="List runs, the latest first")
    async def list_runs(
        self,
        *,
        stores: Opened,
        entity: FromQuery[str | None] = None,
        mode: FromQuery[Mode | None] = None,
        status: FromQuery[RunStatus | None] = None,
        limit: Limit = LIMIT_DEFAULT,
        cursor: Cursor = None,
    ) -> Page[RunView]:
        return await runs.list_runs(
            stores, entity=entity, mode=mode, status=status, limit=limit, cursor=cursor
        )

    @get("/{run_id:uuid}", summary="Show a run")
    async def get_run(self, stores: Opened, run_id: FromPath[UUID]) -> RunView:
        return await runs.get_run(stores, run_id)

    @get("/{run_id:uuid}/partitions", summary="List the partitions of a run, in the order of their keys")
    async def list_partitions(
        self, stores: Opened, run_id: FromPath[UUID], limit: Limit = LIMIT_DEFAULT, cursor: Cursor = None
    ) -> Page[PartitionView]:
        return await partitions.list_partitions(stores, run_id, limit=limit, cursor=cursor)

    @patch(
        "/{run_id:uuid}",
        summary="Throttle a run, or let it read as fast as it can",
        opt=needs(Scope.RECONCILIATION_OPERATE),
    )
    async def change_run(
        self, stores: Opened, caller: Calling, run_id: FromPath[UUID], data: JSONBody[RunChange]
    ) -> RunView:
        """Holds for the run as a whole, over all workers, and within about a second."""
        return await steering.throttle_run(
            stores, run_id, data.records_per_second, by=caller.name, reason=data.reason
        )

    @post(
        "/{run_id:uuid}/pause",
        status_code=200,
        summary="Have a run rest, whatever it is at",
        opt=needs(Scope.RECONCILIATION_OPERATE),
    )
    async def pause_run(
        self, stores: Opened, caller: Calling, run_id: FromPath[UUID], data: JSONBody[Decision]
    ) -> RunView:
        """What it compares or repairs at this moment ends within about a second; it stays the active run."""
        return await steering.pause_run(stores, run_id, by=caller.name, reason=data.reason)

    @post(
        "/{run_id:uuid}/resume",
        status_code=200,
        summary="Let a paused run go on",
        opt=needs(Scope.RECONCILIATION_OPERATE),
    )
    async def resume_run(
        self, stores: Opened, caller: Calling, run_id: FromPath[UUID], data: JSONBody[Decision]
    ) -> RunView:
        """A partition that was being compared when it was paused is compared again from its start."""
        run = await steering.resume_run(stores, run_id, by=caller.name, reason=data.reason)
        await wake(actors.wake_run, run.id)
        await wake(actors.wake_repairs)
        return run

    @post(
        "/{run_id:uuid}/cancel",
        status_code=200,
        summary="Cancel a run",
        opt=needs(Scope.RECONCILIATION_OPERATE),
    )
    async def cancel_run(
        self,
        stores: Opened,
        caller: Calling,
        run_id: FromPath[UUID],
        data: JSONBody[Cancellation] = WITHOUT_REASON,
    ) -> RunView:
        return await runs.cancel_run(stores, run_id, by=caller.name, reason=data.reason)

    @post(
        "/{run_id:uuid}/approve",
        status_code=200,
        summary="Let a run go on that the circuit breaker holds",
        opt=needs(Scope.RECONCILIATION_OPERATE),
    )
    async def approve_run(
        self, stores: Opened, caller: Calling, run_id: FromPath[UUID], data: JSONBody[Decision]
    ) -> RunView:
        run = await runs.approve_run(stores, run_id, by=caller.name, reason=data.reason)
        await wake(actors.wake_run, run.id)
        return run

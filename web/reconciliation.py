"""Reconciliation over HTTP: each call is checked, made on one function of `app`, announced where work follows."""

from uuid import UUID

from litestar import Controller, Response, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, SkipValidation
from msgspec import UNSET

from actors.reconciliation import wake_repairs, wake_run
from app.errors import Fault, InvalidInputError
from app.pages import LIMIT_DEFAULT, Page
from app.reconciliation import diffs, events, history, jobs, runs
from app.reconciliation.views import ChangeView, DiffView, JobView, RecordView, RunView
from app.stores.connections import Stores
from web.guards import OPERATOR
from web.inputs import (
    Accepted,
    Approval,
    Cancellation,
    Cursor,
    Decision,
    DiffStatus,
    Events,
    JobChange,
    Kind,
    Limit,
    Mode,
    RunOrder,
    RunStatus,
)
from web.waking import wake

RUNS = "/v1/reconciliation/runs"
WITHOUT_REASON = Cancellation()

Opened = NamedDependency[SkipValidation[Stores]]


class Jobs(Controller):
    """Predefined reconciliations."""

    path = "/reconciliation"
    tags = ("jobs",)

    @get("/jobs", summary="List the jobs")
    async def list_jobs(self, stores: Opened) -> list[JobView]:
        return await jobs.list_jobs(stores)

    @patch("/jobs/{name:str}", summary="Let a job repair or only observe; pause or resume it")
    async def change_job(self, stores: Opened, name: FromPath[str], data: JSONBody[JobChange]) -> JobView:
        repairs = None if data.repairs is UNSET else data.repairs
        paused = None if data.paused is UNSET else data.paused
        if repairs is None and paused is None:
            raise InvalidInputError(
                "nothing to change", [Fault("body", "needs `repairs` or `paused`, or both")]
            )
        job = await jobs.change_job(
            stores, name, repairs=repairs, paused=paused, by=OPERATOR, reason=data.reason
        )
        await wake(wake_repairs)
        return job

    @post(
        "/entities/{entity:str}/allow-repairs",
        status_code=204,
        summary="Let repairs go on after the circuit breaker stopped them",
    )
    async def allow_repairs(self, stores: Opened, entity: FromPath[str], data: JSONBody[Decision]) -> None:
        await jobs.allow_repairs(stores, entity, by=OPERATOR, reason=data.reason)
        await wake(wake_repairs)


class Runs(Controller):
    """Executions of jobs."""

    path = "/reconciliation/runs"
    tags = ("runs",)

    @post(summary="Start a run")
    async def start_run(self, stores: Opened, data: JSONBody[RunOrder]) -> Response[RunView]:
        """Answers 409, with the active run's path as `instance`, while one of this entity and mode is active."""
        run = await runs.start_run(stores, data.entity, mode=data.mode, dry_run=data.dry_run, by=OPERATOR)
        await wake(wake_run, run.id)
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

    @post("/{run_id:uuid}/cancel", status_code=200, summary="Cancel a run")
    async def cancel_run(
        self, stores: Opened, run_id: FromPath[UUID], data: JSONBody[Cancellation] = WITHOUT_REASON
    ) -> RunView:
        return await runs.cancel_run(stores, run_id, by=OPERATOR, reason=data.reason)

    @post("/{run_id:uuid}/approve", status_code=200, summary="Let a run go on that the circuit breaker holds")
    async def approve_run(self, stores: Opened, run_id: FromPath[UUID], data: JSONBody[Decision]) -> RunView:
        run = await runs.approve_run(stores, run_id, by=OPERATOR, reason=data.reason)
        await wake(wake_run, run.id)
        return run


class Diffs(Controller):
    """Confirmed discrepancies."""

    path = "/reconciliation/diffs"
    tags = ("diffs",)

    @get(summary="List diffs, the latest first")
    async def list_diffs(
        self,
        *,
        stores: Opened,
        entity: FromQuery[str | None] = None,
        key: FromQuery[str | None] = None,
        status: FromQuery[DiffStatus | None] = None,
        run_id: FromQuery[UUID | None] = None,
        kind: FromQuery[Kind | None] = None,
        limit: Limit = LIMIT_DEFAULT,
        cursor: Cursor = None,
    ) -> Page[DiffView]:
        return await diffs.list_diffs(
            stores,
            entity=entity,
            key=key,
            status=status,
            run_id=run_id,
            kind=kind,
            limit=limit,
            cursor=cursor,
        )

    @get("/{diff_id:uuid}", summary="Show a diff")
    async def get_diff(self, stores: Opened, diff_id: FromPath[UUID]) -> DiffView:
        return await diffs.get_diff(stores, diff_id)

    @post("/{diff_id:uuid}/approve", status_code=200, summary="Settle a diff with the values of one side")
    async def approve_diff(
        self, stores: Opened, diff_id: FromPath[UUID], data: JSONBody[Approval]
    ) -> DiffView:
        diff = await diffs.approve(stores, diff_id, side=data.side, by=OPERATOR, reason=data.reason)
        await wake(wake_repairs)
        return diff

    @post("/{diff_id:uuid}/reject", status_code=200, summary="Leave a diff as it is")
    async def reject_diff(
        self, stores: Opened, diff_id: FromPath[UUID], data: JSONBody[Decision]
    ) -> DiffView:
        return await diffs.reject(stores, diff_id, by=OPERATOR, reason=data.reason)


class Records(Controller):
    """What happened to records, told by the other services or done by this one."""

    path = "/reconciliation"
    tags = ("records",)

    @post("/events", status_code=202, summary="Tell that records changed")
    async def accept_events(self, stores: Opened, data: JSONBody[Events]) -> Accepted:
        """Takes all of them or, where one is malformed, none."""
        accepted = await events.accept(stores, data.events)
        await wake(wake_repairs)
        return Accepted(accepted)

    @get("/changes", summary="List changes made to either side, the latest first")
    async def list_changes(
        self,
        *,
        stores: Opened,
        entity: FromQuery[str | None] = None,
        key: FromQuery[str | None] = None,
        run_id: FromQuery[UUID | None] = None,
        limit: Limit = LIMIT_DEFAULT,
        cursor: Cursor = None,
    ) -> Page[ChangeView]:
        return await history.list_changes(
            stores, entity=entity, key=key, run_id=run_id, limit=limit, cursor=cursor
        )

    @get("/records/{entity:str}/{key:str}", summary="Show a record on both sides, and its whole past")
    async def get_record(self, stores: Opened, entity: FromPath[str], key: FromPath[str]) -> RecordView:
        return await history.record(stores, entity, key)

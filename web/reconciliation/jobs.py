"""Predefined jobs over HTTP."""

from litestar import Controller, get, patch, post
from litestar.params import FromPath, JSONBody
from msgspec import UNSET

from actors import reconciliation as actors
from app.accounts.permissions import Scope
from app.errors import Fault, InvalidInputError
from app.reconciliation.ledger import jobs
from app.reconciliation.ledger.views import JobView
from web.guards import Calling, needs
from web.inputs import Decision, JobChange
from web.stores import Opened
from web.waking import wake


class Jobs(Controller):
    """Predefined reconciliations."""

    path = "/reconciliation"
    tags = ("jobs",)
    opt = needs(Scope.RECONCILIATION_READ)

    @get("/jobs", summary="List the jobs")
    async def list_jobs(self, stores: Opened) -> list[JobView]:
        return await jobs.list_jobs(stores)

    @patch(
        "/jobs/{name:str}",
        summary="Let a job repair or only observe; pause or resume it",
        opt=needs(Scope.RECONCILIATION_OPERATE),
    )
    async def change_job(
        self, stores: Opened, caller: Calling, name: FromPath[str], data: JSONBody[JobChange]
    ) -> JobView:
        repairs = None if data.repairs is UNSET else data.repairs
        paused = None if data.paused is UNSET else data.paused
        if repairs is None and paused is None:
            raise InvalidInputError(
                "nothing to change", [Fault("body", "needs `repairs` or `paused`, or both")]
            )
        job = await jobs.change_job(
            stores, name, repairs=repairs, paused=paused, by=caller.name, reason=data.reason
        )
        await wake(actors.wake_repairs)
        return job

    @post(
        "/entities/{entity:str}/allow-repairs",
        status_code=204,
        summary="Let repairs go on after the circuit breaker stopped them",
        opt=needs(Scope.RECONCILIATION_OPERATE),
    )
    async def allow_repairs(
        self, stores: Opened, caller: Calling, entity: FromPath[str], data: JSONBody[Decision]
    ) -> None:
        await jobs.allow_repairs(stores, entity, by=caller.name, reason=data.reason)
        await wake(actors.wake_repairs)

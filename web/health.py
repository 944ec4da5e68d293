"""Whether the process lives, and whether it can serve."""

from http import HTTPStatus

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import SkipValidation
from msgspec import Struct

from app.stores import health
from app.stores.connections import Stores
from web.problems import answer, problem_of

OK = "ok"


class Health(Struct):
    """The process lives."""

    status: str = OK


class Readiness(Struct):
    """Every store answers."""

    stores: dict[str, str]
    status: str = OK


@get("/health/live", summary="Does the process live?", tags=["health"], sync_to_thread=False)
def live() -> Health:
    """Answers without a look at any store: a process that cannot answer this needs a restart."""
    return Health()


@get("/health/ready", summary="Do all stores answer?", tags=["health"])
async def ready(stores: NamedDependency[SkipValidation[Stores]]) -> Response[Readiness]:
    """503 names the stores that fail: no traffic should come here until they are back."""
    found = await health.readiness(stores)
    failing = {name: state for name, state in found.items() if state != OK}
    if not failing:
        return Response(Readiness(stores=found))
    problem = problem_of(HTTPStatus.SERVICE_UNAVAILABLE, f"not ready: {', '.join(failing)}")
    problem.stores = failing
    return answer(problem)

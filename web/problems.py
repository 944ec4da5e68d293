"""Every error that leaves the service is a problem document (RFC 9457), and no driver's words are in it."""

from http import HTTPStatus
from typing import Any

import asyncpg
import pymongo.errors
import redis.exceptions
from litestar import Request, Response
from litestar.exceptions import HTTPException
from loguru import logger
from msgspec import UNSET, Struct, UnsetType

from app.accounts.limits import TooManyAttemptsError
from app.accounts.sessions import RefreshRefusedError
from app.accounts.signing_in import SecondFactorNeededError, SignInRefusedError
from app.errors import (
    BusyError,
    ConflictError,
    CoreError,
    Fault,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    StoreUnavailableError,
)
from app.notifications.delivering.signatures import BadSignatureError

PROBLEM_JSON = "application/problem+json"
RETRY_AFTER_SECONDS = 5
MAX_BODY_BYTES = 1_000_000  # a thousand events take about a seventh of it

# The nearest class of an error decides, so a row may make an exception to a wider one.
STATUSES: dict[type[BaseException], HTTPStatus] = {
    NotFoundError: HTTPStatus.NOT_FOUND,
    InvalidInputError: HTTPStatus.UNPROCESSABLE_ENTITY,
    ConflictError: HTTPStatus.CONFLICT,
    ForbiddenError: HTTPStatus.FORBIDDEN,
    StoreUnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
    BusyError: HTTPStatus.SERVICE_UNAVAILABLE,
    TooManyAttemptsError: HTTPStatus.TOO_MANY_REQUESTS,
    SignInRefusedError: HTTPStatus.UNAUTHORIZED,
    SecondFactorNeededError: HTTPStatus.UNAUTHORIZED,
    RefreshRefusedError: HTTPStatus.UNAUTHORIZED,
    BadSignatureError: HTTPStatus.UNAUTHORIZED,
    # What the drivers raise when a store is away, too slow or full. OSError includes refused and broken connections
    # and built-in time-outs.
    OSError: HTTPStatus.SERVICE_UNAVAILABLE,
    asyncpg.PostgresConnectionError: HTTPStatus.SERVICE_UNAVAILABLE,
    asyncpg.OperatorInterventionError: HTTPStatus.SERVICE_UNAVAILABLE,
    asyncpg.InsufficientResourcesError: HTTPStatus.SERVICE_UNAVAILABLE,
    asyncpg.InvalidAuthorizationSpecificationError: HTTPStatus.SERVICE_UNAVAILABLE,
    asyncpg.InvalidCatalogNameError: HTTPStatus.SERVICE_UNAVAILABLE,
    asyncpg.ReadOnlySQLTransactionError: HTTPStatus.SERVICE_UNAVAILABLE,  # a primary that has become a standby
    asyncpg.TransactionRollbackError: HTTPStatus.SERVICE_UNAVAILABLE,  # deadlocks
    asyncpg.InterfaceError: HTTPStatus.SERVICE_UNAVAILABLE,
    asyncpg.InternalClientError: HTTPStatus.SERVICE_UNAVAILABLE,
    asyncpg.exceptions._base.DataError: HTTPStatus.INTERNAL_SERVER_ERROR,  # noqa: SLF001  (an argument of ours: a mistake, no outage)
    pymongo.errors.ConnectionFailure: HTTPStatus.SERVICE_UNAVAILABLE,
    pymongo.errors.ExecutionTimeout: HTTPStatus.SERVICE_UNAVAILABLE,
    redis.exceptions.ConnectionError: HTTPStatus.SERVICE_UNAVAILABLE,
    redis.exceptions.TimeoutError: HTTPStatus.SERVICE_UNAVAILABLE,
}

# Problems that a caller has to tell from others of their status.
TYPES: dict[type[CoreError], str] = {
    SignInRefusedError: "urn:astrobookings:problem:sign-in-refused",
    SecondFactorNeededError: "urn:astrobookings:problem:second-factor-needed",
    RefreshRefusedError: "urn:astrobookings:problem:refresh-refused",
}

# What the framework raises without a word of its own.
_FRAMEWORK_DETAILS = {
    HTTPStatus.NOT_FOUND: "nothing lies at this path",
    HTTPStatus.METHOD_NOT_ALLOWED: "this path does not take that method; the header Allow lists those it takes",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: f"the body may have {MAX_BODY_BYTES:,} bytes at most",
}


class Problem(Struct, omit_defaults=True):
    """What went wrong. `errors` lists every fault of what was asked; `instance` is what stands in the way."""

    type: str
    title: str
    status: int
    detail: str
    instance: str | UnsetType = UNSET
    errors: list[Fault] | UnsetType = UNSET
    stores: dict[str, str] | UnsetType = UNSET


def problem_of(status: HTTPStatus, detail: str) -> Problem:
    """A problem that its status names well enough."""
    return Problem(type="about:blank", title=status.phrase, status=status.value, detail=detail)


def answer(problem: Problem, headers: dict[str, str] | None = None) -> Response[Any]:
    """The problem as a response."""
    wait = (
        {"Retry-After": str(RETRY_AFTER_SECONDS)} if problem.status == HTTPStatus.SERVICE_UNAVAILABLE else {}
    )
    return Response(
        problem, status_code=problem.status, headers={**wait, **(headers or {})}, media_type=PROBLEM_JSON
    )


def respond(_: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """The problem document of whatever was raised; what nobody expected is logged and told as a bare 500."""
    match error:
        case HTTPException() if error.status_code != HTTPStatus.INTERNAL_SERVER_ERROR:
            status = HTTPStatus(error.status_code)
            return answer(problem_of(status, _FRAMEWORK_DETAILS.get(status, error.detail)), error.headers)
        case CoreError():
            return _core_error(error)
        case _:
            return _surprise(error)


def status_of(error: BaseException) -> HTTPStatus:
    """The status that the nearest class of the error in the table has; 500 where it has none."""
    known = (STATUSES[each] for each in type(error).__mro__ if each in STATUSES)
    return next(known, HTTPStatus.INTERNAL_SERVER_ERROR)


def _core_error(error: CoreError) -> Response[Any]:
    status = status_of(error)
    if status is HTTPStatus.INTERNAL_SERVER_ERROR:
        return _surprise(error)
    problem = problem_of(status, str(error))
    problem.type = TYPES.get(type(error), problem.type)
    match error:
        case BusyError() | TooManyAttemptsError():
            return answer(problem, {"Retry-After": str(error.retry_after)})
        case InvalidInputError(faults=faults) | ConflictError(faults=faults) if faults:
            problem.errors = faults
        case ConflictError(instance=str(instance)):
            problem.instance = instance
        case StoreUnavailableError():
            logger.bind(error=str(error)).warning("store.failed")
        case _:
            pass
    return answer(problem)


def _surprise(error: Exception) -> Response[Any]:
    status = status_of(error)
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        logger.bind(error=repr(error)).warning("store.failed")
        return answer(problem_of(status, "a store does not answer; the call may be repeated"))
    logger.opt(exception=error).error("request.failed")
    return answer(problem_of(status, "something went wrong inside; the log has it under this X-Request-ID"))

import asyncpg
import httpx
import pymongo.errors
import pytest
import redis.exceptions

from app.errors import (
    ConflictError,
    CoreError,
    Fault,
    InvalidInputError,
    NotFoundError,
    StoreUnavailableError,
)
from app.reconciliation.ledger import jobs
from web.problems import status_of

JOBS = "/v1/reconciliation/jobs"


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch):
    def fail_with(error: Exception) -> None:
        async def list_jobs(_stores: object) -> None:
            raise error

        monkeypatch.setattr(jobs, "list_jobs", list_jobs)

    return fail_with


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotFoundError("x"), 404),
        (InvalidInputError("x"), 422),
        (ConflictError("x"), 409),
        (StoreUnavailableError("x"), 503),
        (ConnectionRefusedError(), 503),
        (OSError("Multiple exceptions"), 503),
        (TimeoutError(), 503),
        (asyncpg.ConnectionDoesNotExistError(), 503),
        (asyncpg.CannotConnectNowError(), 503),
        (asyncpg.TooManyConnectionsError(), 503),
        (asyncpg.QueryCanceledError(), 503),
        (asyncpg.InvalidPasswordError(), 503),
        (asyncpg.InvalidCatalogNameError(), 503),
        (asyncpg.ReadOnlySQLTransactionError(), 503),
        (asyncpg.DeadlockDetectedError(), 503),
        (asyncpg.InterfaceError("connection is closed"), 503),
        (asyncpg.exceptions._base.DataError("invalid input for query argument $1"), 500),
        (asyncpg.UndefinedTableError("relation"), 500),
        (asyncpg.DataError("invalid byte sequence"), 500),
        (pymongo.errors.ServerSelectionTimeoutError(), 503),
        (pymongo.errors.NetworkTimeout(), 503),
        (pymongo.errors.OperationFailure("x"), 500),
        (redis.exceptions.ConnectionError(), 503),
        (redis.exceptions.TimeoutError(), 503),
        (redis.exceptions.ResponseError("x"), 500),
        (ZeroDivisionError(), 500),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
async def test_every_error_has_its_status(
    failing, operator: httpx.AsyncClient, error: Exception, status: int
):
    failing(error)

    answer = await operator.get(JOBS)

    assert answer.status_code == status == status_of(error)
    assert answer.headers["content-type"] == "application/problem+json"
    assert {"type", "title", "status", "detail"} <= answer.json().keys()
    assert ("retry-after" in answer.headers) is (status == 503)


def test_every_error_of_the_service_that_callers_may_see_has_a_status_of_its_own():
    mapped = [each for each in CoreError.__subclasses__() if each.__module__ == "app.errors"]

    statuses = {status_of(each.__new__(each)) for each in mapped}
    assert statuses == {403, 404, 422, 409, 503}


async def test_a_surprise_is_logged_and_nothing_of_it_is_told(failing, operator: httpx.AsyncClient, logged):
    failing(RuntimeError("password=hunter2 at /srv/secret.py"))

    answer = await operator.get(JOBS)

    assert answer.status_code == 500
    assert "hunter2" not in answer.text
    assert "secret" not in answer.text
    [entry] = [entry for entry in logged if entry["event"] == "request.failed"]
    assert entry["level"] == "ERROR"
    assert entry["request_id"] == answer.headers["x-request-id"]


async def test_no_word_of_a_driver_is_told(failing, operator: httpx.AsyncClient):
    failing(redis.exceptions.ConnectionError("Error 111 connecting to redis://:hunter2@10.0.0.7:6379"))

    answer = await operator.get(JOBS)

    assert answer.json()["detail"] == "a store does not answer; the call may be repeated"


async def test_a_conflict_names_what_stands_in_the_way(failing, operator: httpx.AsyncClient):
    failing(ConflictError("one is active", "/v1/reconciliation/runs/7"))

    assert (await operator.get(JOBS)).json() == {
        "type": "about:blank",
        "title": "Conflict",
        "status": 409,
        "detail": "one is active",
        "instance": "/v1/reconciliation/runs/7",
    }


async def test_invalid_input_lists_every_fault(failing, operator: httpx.AsyncClient):
    failing(
        InvalidInputError("two faults", [Fault("events/3/id", "is bad"), Fault("events/7/id", "is worse")])
    )

    assert (await operator.get(JOBS)).json()["errors"] == [
        {"where": "events/3/id", "message": "is bad"},
        {"where": "events/7/id", "message": "is worse"},
    ]


@pytest.mark.parametrize(
    "path", ["/nothing", "/v1/nothing", "/schema/nothing", "/v1/reconciliation/runs/no-uuid"]
)
async def test_an_unknown_path_is_a_problem_too(operator: httpx.AsyncClient, path: str):
    answer = await operator.get(path)

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_method_that_a_path_does_not_take_is_a_problem_too(operator: httpx.AsyncClient):
    answer = await operator.delete("/v1/reconciliation/runs")

    assert answer.status_code == 405
    assert answer.headers["content-type"] == "application/problem+json"
    assert {"GET", "POST"} <= set(answer.headers["allow"].split(", "))

import asyncio
import re

import httpx
import pytest

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
PATHS = ["/", "/nothing", "/v1/reconciliation/jobs", "/schema", "/health/live"]


@pytest.mark.parametrize("path", PATHS)
async def test_every_answer_bears_an_id_of_its_own(anyone: httpx.AsyncClient, path: str):
    first, second = [(await anyone.get(path)).headers["x-request-id"] for _ in range(2)]

    assert UUID.fullmatch(first)
    assert first != second


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("sent", ["abc", "a.b_c-1", "x" * 128])
async def test_a_sane_id_of_the_caller_is_kept(anyone: httpx.AsyncClient, path: str, sent: str):
    answer = await anyone.get(path, headers={"x-request-id": sent})

    assert answer.headers.get_list("x-request-id") == [sent]


@pytest.mark.parametrize("sent", ["", " ", "x" * 129, "a b", "a\tb", "<script>", "é", "a;b"])
async def test_another_id_is_replaced(anyone: httpx.AsyncClient, sent: str):
    answer = await anyone.get("/", headers={"x-request-id": sent.encode()})

    assert UUID.fullmatch(answer.headers["x-request-id"])


@pytest.mark.parametrize(
    ("path", "status", "level"),
    [("/", 200, "INFO"), ("/nothing", 404, "INFO"), ("/health/live", 200, "DEBUG")],
)
async def test_every_request_is_logged_once(
    anyone: httpx.AsyncClient, logged, path: str, status: int, level: str
):
    await anyone.get(f"{path}?secret=1", headers={"x-request-id": "mine"})

    [entry] = [entry for entry in logged if entry["event"] == "request.served"]
    milliseconds = entry.pop("milliseconds")
    assert milliseconds >= 0
    assert entry == {
        "event": "request.served",
        "level": level,
        "method": "GET",
        "path": path,
        "status": status,
        "request_id": "mine",
    }


async def test_requests_at_the_same_time_do_not_mix_their_ids(anyone: httpx.AsyncClient, logged):
    ids = [f"id-{number}" for number in range(20)]

    await asyncio.gather(*(anyone.get(f"/{each}", headers={"x-request-id": each}) for each in ids))

    assert {(entry["path"], entry["request_id"]) for entry in logged} == {(f"/{each}", each) for each in ids}

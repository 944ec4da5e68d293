import httpx
import pytest
from litestar import Litestar

from app.stores import health


async def test_a_living_process_says_so_without_a_look_at_any_store(app: Litestar, anyone: httpx.AsyncClient):
    app.state.stores = None

    assert (await anyone.get("/health/live")).json() == {"status": "ok"}


async def test_readiness_names_the_stores_that_fail(
    anyone: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
):
    async def readiness(_stores: object) -> dict[str, str]:
        return {"core": "ok", "audit": "does not answer"}

    monkeypatch.setattr(health, "readiness", readiness)

    answer = await anyone.get("/health/ready")

    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["retry-after"]
    assert answer.json()["stores"] == {"audit": "does not answer"}
    assert "audit" in answer.json()["detail"]


async def test_with_every_store_there_the_process_is_ready(real: httpx.AsyncClient):
    answer = await real.get("/health/ready")

    assert answer.status_code == 200, answer.text
    assert set(answer.json()["stores"].values()) == {"ok"}

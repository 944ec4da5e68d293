"""Archives over HTTP."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from actors import audit as actors
from app.audit import outbox
from app.audit.archiving import turn
from app.audit.sealing.turn import take_turn as seal
from app.audit.store import AuditStore
from app.clock import now
from app.stores.connections import Stores
from tests.web.test_audit import put_fact
from tests.web.test_operators import put_change

ARCHIVES = "/v1/audit/archives"


@pytest.fixture(autouse=True)
def woken_archiver(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    seen: list[Any] = []
    monkeypatch.setattr(actors.archive_entries, "send", lambda: seen.append("archiver"))
    return seen


@pytest.fixture
async def kept(
    stores: Stores, real: httpx.AsyncClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Stores:
    """Stores with archives to themselves, of a service for which it is tomorrow."""
    settings = stores.settings.model_copy(update={"audit_archive_dir": tmp_path})
    changed = type(stores)(**{**vars(stores), "settings": settings})
    real._transport.app.state.stores = changed  # type: ignore[attr-defined]
    from app.audit.archiving import orders

    for module in (turn, orders):
        monkeypatch.setattr(module, "now", lambda: now() + timedelta(days=1))
    return changed


async def sealed_facts(stores: Stores) -> None:
    for _ in range(2):
        for _ in range(3):
            await put_fact(stores)
        await seal(stores)


async def test_an_order_moves_entries_that_stay_readable(
    real: httpx.AsyncClient, kept: Stores, woken_archiver: list[Any]
) -> None:
    await sealed_facts(kept)
    preview = (await real.post(f"{ARCHIVES}/preview", json={"before": "0s"})).json()
    assert (preview["entries"], preview["first"], preview["last"]) == (3, 1, 3)
    assert preview["held_by"] == "its seal is the newest one"

    ordered = await real.post(ARCHIVES, json={"before": "0s", "reason": "room"})
    assert ordered.status_code == 202
    assert woken_archiver == ["archiver"]
    assert (await real.get(ordered.headers["Location"])).json()["finished_at"] is None

    assert await turn.take_turn(kept) == 1
    done = (await real.get(ordered.headers["Location"])).json()
    assert (done["archives"], done["entries"], done["refused"]) == (1, 3, None)
    (archive,) = (await real.get(ARCHIVES)).json()["items"]
    assert (archive["number"], archive["first"], archive["last"], archive["there"]) == (1, 1, 3, True)

    await outbox.relay(kept.core, AuditStore.of(kept))
    items = (await real.get("/v1/audit", params={"order": "oldest"})).json()["items"]
    assert [each["sequence"] for each in items] == list(range(1, 9))
    assert [each["name"] for each in items[-2:]] == ["operator:archive:order", "audit:archive:make"]
    assert items[-2]["entry"]["reason"] == "room"
    assert (await real.get("/v1/audit/2")).json()["sequence"] == 2


async def test_an_archived_change_is_told_as_before(real: httpx.AsyncClient, kept: Stores) -> None:
    change = await put_change(kept, None, "a")
    await seal(kept)
    await sealed_facts(kept)
    paths = ("/v1/reconciliation/changes", f"/v1/reconciliation/changes/{change}", "/v1/audit?kind=outcome")
    before = [(await real.get(path)).json() for path in paths]
    await real.post(ARCHIVES, json={"before": "0s"})
    assert await turn.take_turn(kept) == 1
    assert (await AuditStore.of(kept).count()).archived == 5
    assert [(await real.get(path)).json() for path in paths] == before


async def test_where_a_file_is_gone_the_problem_names_it(real: httpx.AsyncClient, kept: Stores) -> None:
    await sealed_facts(kept)
    await real.post(ARCHIVES, json={"before": "0s"})
    await turn.take_turn(kept)
    (file,) = kept.settings.archive_dir.glob("*.gz")
    file.unlink()
    answer = await real.get("/v1/audit/2")
    assert answer.status_code == 503
    assert file.name in answer.json()["detail"]
    assert (await real.get("/v1/audit/4")).status_code == 200
    assert not (await real.get(ARCHIVES)).json()["items"][0]["there"]


@pytest.mark.parametrize(
    ("body", "where"),
    [({"before": "yesterday"}, "before"), ({"before": 3}, "before"), ({"when": "0s"}, "when")],
)
async def test_what_makes_no_sense_is_refused(
    real: httpx.AsyncClient, kept: Stores, body: dict[str, Any], where: str
) -> None:
    for path in (ARCHIVES, f"{ARCHIVES}/preview"):
        answer = await real.post(path, json=body)
        assert answer.status_code == 422
        assert [fault["where"] for fault in answer.json()["errors"]] == [where]
    assert await kept.core.fetchval("SELECT count(*) FROM audit_archive_orders") == 0


async def test_an_order_that_is_none_is_not_found(real: httpx.AsyncClient, kept: Stores) -> None:
    assert (await real.get(f"{ARCHIVES}/orders/00000000-0000-0000-0000-000000000000")).status_code == 404

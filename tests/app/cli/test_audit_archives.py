"""`astrocore audit archive`, `archives` and `restore`, and what `verify` and `prove` make of archives."""

import asyncio
import io
import json
import shutil
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import httpx
import msgspec
import pytest

from app.audit.archiving.views import ArchiveView, Order, Plan
from app.cli import audit_archives
from app.pages import Page
from config.settings import PREFIX, Settings, settings
from tests.app.audit.archived import ArchivedStore, open_archived
from tests.app.audit.sealed import unguarded

AT = datetime(2026, 1, 1, 12, 30, 5, tzinfo=UTC)
PLAN = Plan(before=AT, seals=2, entries=1500, first=1, last=1500, held_by="its seal is the newest one")
ORDER = Order(UUID(int=1), AT, AT, None, None, None, None)
DONE = msgspec.structs.replace(ORDER, finished_at=AT, archives=1, entries=1500)
BASE = "/v1/audit/archives"
T = TypeVar("T")


def answer(system: Any, method: str, path: str, *values: Any, status: int = 200) -> None:
    system._answers[method, path] = [
        httpx.Response(status, content=msgspec.json.encode(each)) for each in values
    ]


@pytest.fixture
def ready(system: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A system that archives 1,500 entries in two looks."""
    monkeypatch.setattr(audit_archives, "POLL_SECONDS", 0)
    answer(system, "POST", f"{BASE}/preview", PLAN)
    answer(system, "POST", BASE, ORDER, status=202)
    answer(system, "GET", f"{BASE}/orders/{ORDER.id}", ORDER, DONE)
    return system


def bodies(system: Any) -> list[tuple[str, Any]]:
    return [(path, body) for method, path, body in system.asked if method == "POST"]


def test_entries_are_archived_and_the_end_is_awaited(typed, ready) -> None:
    code, out, err = typed("audit archive --keep 30 --yes --reason room")
    assert (code, out) == (0, "1,500 entries moved to 1 archive\n")
    assert "archiving 1,500 entries" in err
    (_, asked), (_, ordered) = bodies(ready)
    assert ordered == asked | {"reason": "room"}
    assert datetime.fromisoformat(asked["before"]).tzinfo is not None


def test_without_a_bound_what_is_due_anyway_is_archived(typed, ready) -> None:
    code, out, _ = typed("audit archive --yes --json")
    assert (code, json.loads(out)["entries"]) == (0, 1500)
    assert bodies(ready)[0][1] == {}


def test_nothing_is_archived_without_a_yes(typed, ready, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    code, out, err = typed("audit archive")
    assert (code, out.strip()) == (1, "")
    assert "nothing was done" in err
    assert len(bodies(ready)) == 1


def test_a_dry_run_says_what_would_move(typed, ready) -> None:
    code, out, _ = typed("audit archive --dry-run --before 7d")
    assert code == 0
    assert "1,500 entries, 1 to 1500, of 2 seals" in out
    assert "its seal is the newest one" in out
    assert len(bodies(ready)) == 1
    assert json.loads(typed("audit archive --dry-run --json")[1])["entries"] == 1500


def test_where_nothing_is_due_nothing_is_asked(typed, ready) -> None:
    answer(ready, "POST", f"{BASE}/preview", Plan(AT, 0, 0, None, None, None))
    code, out, _ = typed("audit archive")
    assert code == 0
    assert "0 entries" in out
    assert "the age of what follows" in out
    assert len(bodies(ready)) == 1


def test_an_order_that_was_refused_says_why(typed, ready) -> None:
    refused = msgspec.structs.replace(
        DONE, archives=0, entries=0, refused="ASTROCORE_AUDIT_RETENTION_URL must be set"
    )
    answer(ready, "GET", f"{BASE}/orders/{ORDER.id}", refused)
    code, _, err = typed("audit archive --yes")
    assert code == 1
    assert "ASTROCORE_AUDIT_RETENTION_URL must be set" in err
    assert "hint" in err


def test_an_order_that_nobody_ends_is_not_awaited_for_ever(
    typed, ready, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(ready, "GET", f"{BASE}/orders/{ORDER.id}", *[ORDER] * 9)
    monkeypatch.setattr(audit_archives, "SAYING_SECONDS", 0)
    monkeypatch.setattr(audit_archives, "WAITING_SECONDS", 0.3)
    monkeypatch.setattr(audit_archives, "POLL_SECONDS", 0.05)
    code, _, err = typed("audit archive --yes")
    assert code == 1
    assert err.count("waiting for a worker") == 1
    assert f"no worker has ended order {ORDER.id}; it stands" in err


@pytest.mark.parametrize("line", ["--before 1d --keep 3", "--before yesterday", "--keep x", "--keep -1"])
def test_what_is_asked_wrongly_asks_nobody(typed, ready, line: str) -> None:
    assert typed(f"audit archive {line} --yes")[0] in {1, 2}
    assert bodies(ready) == []


def test_archives_are_listed(typed, system) -> None:
    view = ArchiveView(
        number=2, first=101, last=1600, earliest=AT, latest=AT, made_at=AT, file="audit-x.gz", bytes=123456,
        sha256="00", trimmed=True, there=True,
    )  # fmt: skip
    replace = msgspec.structs.replace
    items = [view, replace(view, trimmed=False), replace(view, there=False)]
    answer(system, "GET", BASE, Page(items, "more"))
    code, out, err = typed("audit archives")
    rows = out.splitlines()[2:]
    assert code == 0
    assert rows[0].split() == ["2", "101-1600", "2026-01-01", "12:30:05", "2026-01-01", "12:30:05", "123,456",
                               "audit-x.gz", "archived"]  # fmt: skip
    assert rows[1].split()[-2:] == ["being", "trimmed"]
    assert rows[2].split()[-2:] == ["file", "missing"]
    assert "--cursor more" in err


@pytest.fixture
def on_store(settings_of_test: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Do something with the audit store that the commands read; its archives lie in `archives`."""
    chosen = unguarded(settings_of_test)
    for name in ("core_database_url", "audit_url", "audit_signing_key"):
        monkeypatch.setenv(PREFIX + name.upper(), chosen.url(name))
    monkeypatch.setenv(f"{PREFIX}NAMESPACE", chosen.namespace)
    monkeypatch.setenv(f"{PREFIX}AUDIT_PUBLIC_KEYS", chosen.audit_public_keys)
    monkeypatch.setenv(f"{PREFIX}AUDIT_ARCHIVE_DIR", str(tmp_path / "archives"))
    settings.cache_clear()

    def run(work: Callable[[ArchivedStore], Awaitable[T]]) -> T:
        async def opened() -> T:
            async with open_archived(settings_of_test, tmp_path / "archives") as store:
                return await work(store)

        return asyncio.run(opened())

    return run


async def _archived(store: ArchivedStore) -> None:
    for _ in range(2):
        await store.seal(3)
    assert await store.archive() == 3


def test_verify_reads_archives_where_it_is_told_to(typed, on_store, tmp_path: Path) -> None:
    on_store(_archived)
    code, out, _ = typed("audit verify")
    assert code == 0
    assert "3 entries of these, in 1 archive" in out
    shutil.move(tmp_path / "archives", tmp_path / "elsewhere")
    code, out, _ = typed("audit verify")
    assert code == 1
    assert "archive missing: archive 1: there is no" in out
    assert "3 more cannot be read" in out
    code, out, _ = typed(f"audit verify --archives {tmp_path / 'elsewhere'} --json")
    assert (code, json.loads(out)["archived"]) == (0, 3)


def test_an_archived_entry_is_proven(typed, on_store) -> None:
    on_store(_archived)
    assert typed("audit prove 2 -o proof.json")[0] == 0
    code, out, _ = typed("audit check-proof proof.json --json")
    assert (code, json.loads(out)[0]["sequence"]) == (0, 2)


def test_archives_are_restored(typed, on_store, tmp_path: Path) -> None:
    on_store(_archived)
    shutil.move(tmp_path / "archives", tmp_path / "backup")
    code, out, _ = typed(f"audit restore {tmp_path / 'backup'}")
    assert code == 0
    assert out.startswith("archive 1, 3 entries: audit-000000000001-000000000003-")
    assert out.endswith("restored\n")
    assert typed("audit verify")[0] == 0
    code, out, _ = typed(f"audit restore {tmp_path / 'backup'} --json")
    assert [each["copied"] for each in json.loads(out)] == [False]


def test_what_is_no_archive_of_this_system_is_refused(typed, on_store, tmp_path: Path) -> None:
    on_store(_archived)
    (tmp_path / "other.gz").write_bytes(b"other")
    code, out, err = typed(f"audit restore {tmp_path / 'other.gz'} {tmp_path / 'absent.gz'}")
    assert (code, out) == (1, "")
    assert "other.gz: no tombstone" in err
    assert "absent.gz: archive absent.gz is not there" in err
    assert "nothing was changed" in err

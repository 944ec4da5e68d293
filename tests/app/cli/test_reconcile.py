import json
from itertools import count
from typing import Any
from uuid import UUID

import pytest

from app.cli import progress, reconcile
from tests.app.cli.factories import RUN_ID, make_job, make_run


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "POLL_SECONDS", 0)


JOBS = [
    make_job(f"{entity}-{mode}")
    for entity in ("customers", "launches", "bookings")
    for mode in ("full", "incremental", "invariants")
    if mode != "invariants" or entity != "customers"
]


@pytest.fixture(autouse=True)
def jobs(system) -> None:
    system.answer("GET", "jobs", JOBS)


@pytest.fixture
def ending(system, monkeypatch: pytest.MonkeyPatch):
    """Have the runs of these entities end in other ways than well."""
    ends: dict[str, dict[str, Any]] = {}
    numbers = count(1)
    handle = system.handle

    def answer(request: Any) -> Any:
        if request.method == "POST" and request.url.path.endswith("/runs"):
            entity = json.loads(request.content)["entity"]
            run_id = UUID(int=next(numbers))
            system.answer("POST", "runs", make_run(id=run_id, entity=entity, status="queued"))
            end = make_run(id=run_id, entity=entity, **ends.get(entity, {}))
            system.answer(
                "GET", f"runs/{run_id}", make_run(id=run_id, entity=entity, status="comparing"), end
            )
        return handle(request)

    monkeypatch.setattr(system, "handle", answer)
    return ends


def started(system) -> list[Any]:
    return [body for method, _, body in system.asked if method == "POST"]


def test_entities_come_in_the_order_of_their_references(system):
    def order(*named: str, mode: str = "full") -> list[str]:
        return reconcile.in_order(JOBS, named, mode)

    assert order() == ["customers", "launches", "bookings"]
    assert order("bookings", "customers", "bookings") == ["customers", "bookings"]
    assert order(mode="invariants") == ["launches", "bookings"]
    assert order("customers", mode="invariants") == ["customers"]  # which the system refuses in its own words


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("reconcile bookings moons", "known are customers, launches, bookings"),
        ("reconcile --mode sideways", "known are full, incremental, invariants"),
    ],
)
def test_what_the_system_does_not_know_is_refused_with_what_it_knows(typed, system, line: str, hint: str):
    code, _, err = typed(line)

    assert code == 1
    assert hint in err
    assert started(system) == []


def test_an_entity_that_only_the_system_knows_is_reconciled(typed, system, ending):
    system.answer("GET", "jobs", [*JOBS, make_job("tickets-full")])

    assert typed("reconcile tickets")[0] == 0
    assert [body["entity"] for body in started(system)] == ["tickets"]


def test_each_run_starts_when_the_one_before_has_ended(typed, system, ending):
    code, out, err = typed("reconcile bookings customers")

    calls = [(method, path.split("/")[0], body and body["entity"]) for method, path, body in system.asked]
    assert calls == [
        ("GET", "jobs", None),
        ("POST", "runs", "customers"),
        ("GET", "runs", None),
        ("GET", "runs", None),
        ("POST", "runs", "bookings"),
        ("GET", "runs", None),
        ("GET", "runs", None),
    ]
    assert code == 0
    assert out.splitlines()[2].split()[:2] == ["customers", "done"]
    assert out.splitlines()[3].split()[:2] == ["bookings", "done"]
    assert "customers: done, 5 found" in err


@pytest.mark.parametrize(
    ("flags", "order"),
    [
        ("", {"mode": "full", "dry_run": False}),
        ("--dry-run", {"mode": "full", "dry_run": True}),
        ("--incremental", {"mode": "incremental", "dry_run": False}),
        ("--incremental --mode incremental", {"mode": "incremental", "dry_run": False}),
        ("--throttle 500", {"mode": "full", "dry_run": False, "records_per_second": 500}),
    ],
)
def test_the_order_says_what_was_asked_for(typed, system, ending, flags: str, order: dict[str, object]):
    typed(f"reconcile customers {flags}")

    assert started(system) == [{"entity": "customers", **order}]


def test_with_json_stdout_is_one_document(typed, system, ending):
    code, out, _ = typed("reconcile --json")

    assert code == 0
    assert [run["entity"] for run in json.loads(out)] == ["customers", "launches", "bookings"]


def test_without_following_every_run_is_started_and_left_alone(typed, system, ending):
    code, out, _ = typed("reconcile --no-follow --json")

    assert code == 0
    assert [run["status"] for run in json.loads(out)] == ["queued"] * 3
    assert len(started(system)) == len(system.asked) - 1 == 3


@pytest.mark.parametrize(
    ("end", "hint"),
    [
        (
            {"status": "held", "reason": "too many"},
            "astrocore runs approve 00000000-0000-0000-0000-000000000002",
        ),
        ({"status": "repairing", "reason": "stopped"}, "astrocore jobs allow launches"),
        ({"status": "failed", "reason": "lost"}, "astrocore runs show 00000000-0000-0000-0000-000000000002"),
        ({"status": "cancelled", "reason": "no"}, "astrocore runs show 00000000-0000-0000-0000-000000000002"),
    ],
)
def test_after_a_run_that_did_not_end_well_none_is_started(
    typed, system, ending, end: dict[str, str], hint: str
):
    ending["launches"] = end

    code, out, err = typed("reconcile")

    assert code == 1
    assert [body["entity"] for body in started(system)] == ["customers", "launches"]
    assert [line.split()[0] for line in out.splitlines()[2:]] == ["customers", "launches"]
    assert f": {end['reason']} (bookings: not started)" in err
    assert hint in err


def test_a_run_that_is_active_already_is_named(typed, system):
    path = f"/v1/reconciliation/runs/{RUN_ID}"
    system.answer(
        "POST", "runs", {"detail": "a full run of customers is active", "instance": path}, status=409
    )

    code, _, err = typed("reconcile customers")

    assert code == 1
    assert err.splitlines() == [
        "astrocore: a full run of customers is active",
        f"  hint: `astrocore runs show {RUN_ID}`, or http://127.0.0.1:8080{path}",
    ]


def test_an_interruption_leaves_the_run_alone_and_says_so(
    typed, system, ending, monkeypatch: pytest.MonkeyPatch
):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(reconcile, "follow", interrupt)

    code, out, err = typed("reconcile customers bookings")

    assert (code, out) == (130, "")
    assert "of customers goes on (bookings: not started)" in err
    assert [body["entity"] for body in started(system)] == ["customers"]


def test_the_summary_counts_by_kind_and_by_what_came_of_it(typed, system, ending):
    ending["customers"] = {
        "outcomes": {"repaired": 1200, "in_review": 3, "open": 7},
    }

    _, out, _ = typed("reconcile customers")

    assert out.splitlines()[2].split() == ["customers", "done", "1,000", "/", "999", "3", "2", "0", "1,200", "3", "7", "open", "10.0"]  # fmt: skip


def test_what_was_odd_about_the_schemas_is_told_at_the_end(typed, system, ending):
    ending["customers"] = {"warnings": ["unknown field nickname"]}

    _, out, err = typed("reconcile customers")

    assert err.splitlines()[-1] == "customers: unknown field nickname"
    assert "nickname" not in out

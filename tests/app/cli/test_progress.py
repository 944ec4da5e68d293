from collections.abc import Iterator
from io import StringIO

import pytest
from rich.console import Console

from app.cli import progress
from app.cli.client import connect
from app.cli.errors import UnreachableError
from app.reconciliation.ledger.views import RunView
from tests.app.cli.factories import RUN_ID, START, make_run


@pytest.mark.parametrize(
    ("run", "line"),
    [
        (make_run(status="queued"), "waiting for a worker"),
        (
            make_run(
                status="comparing", findings=0, document_records=0, relational_records=0, partitions_done=0
            ),
            "comparing: just begun",
        ),
        (
            make_run(status="comparing", findings=0, rate=100.0, eta_seconds=10.0),
            "comparing: 1,000 of 2,000 records, 100/s, 10 s left",
        ),
        (
            make_run(status="comparing", findings=0, paused_at=START),
            "paused, comparing: 1,000 of 2,000 records",
        ),
        (
            make_run(
                status="comparing",
                findings=0,
                expected_records=0,
                partitions_done=1,
                rate=99.6,
                eta_seconds=30.0,
            ),
            "comparing: 1,000 records, 100/s, 30 s left",
        ),
        (
            make_run(status="repairing", findings=20, nominated=25, pending=15, rate=2.0, eta_seconds=7.5),
            "repairing: 10 of 25 settled, 2/s, 8 s left, 20 found (3 fields, 2 missing document)",
        ),
        (
            make_run(
                status="repairing",
                mode="incremental",
                compared_at=None,
                findings=20,
                nominated=20,
                kinds={},
                rate=2.0,
                eta_seconds=0.0,
            ),
            "repairing: 20 of 20 settled, 2/s, 20 found",
        ),
        (
            make_run(status="repairing", reason="repairs have stopped", findings=0),
            "repairing: repairs have stopped",
        ),
        (make_run(status="held", reason="too many", findings=0), "held: too many"),
        (make_run(findings=0), "done"),
    ],
)
def test_a_line_tells_how_far_a_run_is(run: RunView, line: str):
    assert progress.describe(run) == line


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.6, "1 min 0 s"), (125, "2 min 5 s"), (3720, "1 h 2 min")]
)
def test_a_duration_is_told_as_people_do(seconds: float, text: str):
    assert progress.duration(seconds) == text


@pytest.fixture
def time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look at the clock comes a second later, and nobody sleeps."""

    def clock() -> Iterator[float]:
        now = 0.0
        while True:
            yield (now := now + 1)

    ticks = clock()
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(ticks))
    monkeypatch.setattr(progress.time, "sleep", lambda _seconds: None)


@pytest.mark.parametrize("last", ["done", "cancelled", "failed", "skipped", "held"])
def test_a_run_is_followed_until_it_goes_no_further(system, time_passes, last: str):
    system.answer(
        "GET", f"runs/{RUN_ID}", *(make_run(status=status) for status in ("comparing", "repairing", last))
    )
    seen: list[str] = []

    with connect() as api:
        run = progress.follow(api, make_run(status="queued"), lambda run: seen.append(run.status))

    assert seen == ["queued", "comparing", "repairing", last]
    assert run.status == last


def test_a_run_whose_repairs_were_stopped_is_not_waited_for(system, time_passes):
    with connect() as api:
        run = progress.follow(api, make_run(status="repairing", reason="stopped"), lambda _: None)

    assert run.reason == "stopped"


def test_a_system_that_is_away_for_a_while_is_waited_for(
    system, time_passes, monkeypatch: pytest.MonkeyPatch
):
    answers = iter([UnreachableError("away")] * 9 + [make_run()])
    with connect() as api:
        monkeypatch.setattr(type(api), "get", lambda *_: raise_or_return(next(answers)))

        assert progress.follow(api, make_run(status="queued"), lambda _: None).status == "done"


def test_a_system_that_stays_away_is_given_up(system, time_passes, monkeypatch: pytest.MonkeyPatch):
    with connect() as api:
        monkeypatch.setattr(type(api), "get", lambda *_: raise_or_return(UnreachableError("away")))

        with pytest.raises(UnreachableError):
            progress.follow(api, make_run(status="queued"), lambda _: None)


def raise_or_return(value: RunView | Exception) -> RunView:
    if isinstance(value, Exception):
        raise value
    return value


def test_without_a_terminal_a_line_comes_with_each_status_and_every_few_seconds(time_passes):
    written = StringIO()
    with progress.progress(Console(file=written)) as show:
        for status in (
            "queued",
            "comparing",
            "comparing",
            "comparing",
            "comparing",
            "comparing",
            "comparing",
            "done",
        ):
            show(make_run(status=status))

    words = [line.split()[1].strip(":,") for line in written.getvalue().splitlines()]
    assert words == ["waiting", "comparing", "comparing", "done"]


def test_on_a_terminal_each_run_has_a_bar():
    written = StringIO()
    console = Console(file=written, force_terminal=True, width=100)
    with progress.progress(console) as show:
        show(make_run(status="comparing"))
        show(make_run())

    assert "customers" in written.getvalue()
    assert "━" in written.getvalue()

from datetime import timedelta

import pytest

from app.pages import Page
from app.reconciliation.ledger.views import PartitionView
from tests.app.cli.factories import RUN_ID, START, make_run


def shown(out: str) -> dict[str, str]:
    return {line.split("  ")[0]: " ".join(line.split("  ")[1:]).strip() for line in out.splitlines()}


def test_a_run_that_rests_is_shown_as_such_with_its_throttle_and_warnings(typed, system):
    run = make_run(
        status="comparing",
        paused_at=START + timedelta(minutes=5),
        paused_seconds=12.34,
        records_per_second=1500,
        warnings=["unknown field nickname", "unknown column note"],
    )
    system.answer("GET", f"runs/{RUN_ID}", run)
    system.answer("GET", "runs", Page([run]))

    _, out, _ = typed(f"runs show {RUN_ID}")
    _, listed, _ = typed("runs")

    facts = shown(out)
    assert facts["status"] == "comparing, paused since 2026-01-01 12:05:00"
    assert facts["paused"] == "12.3 s"
    assert facts["throttle"] == "1,500/s"
    assert facts["compared"] == "2026-01-01 12:00:05 (5.0 s)"
    assert facts["warnings"] == "unknown field nickname"
    assert "unknown column note" in out
    assert "paused" in listed


@pytest.mark.parametrize(
    ("line", "asked"),
    [
        (f"runs pause {RUN_ID} --reason busy", ("POST", f"runs/{RUN_ID}/pause", {"reason": "busy"})),
        (f"runs resume {RUN_ID} --reason quiet", ("POST", f"runs/{RUN_ID}/resume", {"reason": "quiet"})),
        (
            f"runs throttle {RUN_ID} 500 --reason gently",
            ("PATCH", f"runs/{RUN_ID}", {"records_per_second": 500, "reason": "gently"}),
        ),
        (
            f"runs throttle {RUN_ID} off",
            (
                "PATCH",
                f"runs/{RUN_ID}",
                {"records_per_second": None, "reason": "throttled at the command line"},
            ),
        ),
    ],
)
def test_a_run_is_steered_and_shown_as_it_is_then(typed, system, line: str, asked: tuple):
    system.answer(*asked[:2], make_run(status="comparing"))

    code, out, _ = typed(line)

    assert (code, system.asked) == (0, [asked])
    assert shown(out)["status"] == "comparing"


@pytest.mark.parametrize("line", [f"runs pause {RUN_ID}", f"runs resume {RUN_ID}"])
def test_to_rest_and_to_go_on_need_a_reason(typed, system, line: str):
    code, _, err = typed(line)

    assert code == 2
    assert "--reason" in err
    assert system.asked == []


@pytest.mark.parametrize("throttle", ["0", "50", "99", "2147483648", "-5", "²", "fast", "1.5", ""])
def test_a_throttle_that_is_none_is_refused_before_anything_is_asked(typed, system, throttle: str):
    code, _, _ = typed(f"runs throttle {RUN_ID} {throttle}")

    assert code == 2
    assert system.asked == []


def test_the_partitions_of_a_run_are_listed(typed, system):
    parts = [
        PartitionView(0, None, "5", "done", 1200, 1100, 3, 1, None, START),
        PartitionView(1, "5", None, "running", 10, 20, 0, 2, START, None),
    ]
    system.answer("GET", f"runs/{RUN_ID}/partitions", Page(parts, "more"))

    _, out, err = typed(f"runs show {RUN_ID} --partitions")

    rows = [line.split() for line in out.splitlines()[2:]]
    assert rows[0] == ["0", "-", "5", "done", "1,200", "1,100", "3", "1", "2026-01-01", "12:00:00"]
    assert rows[1] == ["1", "5", "-", "running", "10", "20", "0", "2", "-"]
    assert "--cursor more" in err

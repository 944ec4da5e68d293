"""Decisions on many diffs, holds and undo at the command line."""

import json
from typing import Any
from uuid import UUID

import pytest

from app.cli import undo as undo_command
from app.pages import Page
from app.reconciliation.ledger.views import HoldsPlaced, UndoPreview
from tests.app.cli.factories import (
    CHANGE_ID,
    DIFF_ID,
    OTHER_ID,
    RUN_ID,
    UNDO_ID,
    make_diff,
    make_hold,
    make_item,
    make_undo,
)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What whoever is asked answers, and the questions that were asked."""
    given: list[bool] = []

    def confirm(question: str, *, err: bool) -> bool:
        assert err, "stdout is for what was asked for"
        questions.append(question)
        return given.pop(0)

    monkeypatch.setattr("app.cli.options.typer.confirm", confirm)
    return given


questions: list[str] = []


@pytest.fixture(autouse=True)
def nothing_asked() -> None:
    questions.clear()


def posted(system) -> list[tuple[str, Any]]:
    return [(path, body) for method, path, body in system.asked if method == "POST"]


def test_several_diffs_are_decided_at_once_and_listed(typed, system):
    system.answer("POST", "diffs/approve", [make_diff(status="approved"), make_diff(id=OTHER_ID)])

    code, out, _ = typed(f"diffs approve {DIFF_ID} {OTHER_ID} --side relational --reason ok")

    assert code == 0
    assert str(DIFF_ID) in out
    assert str(OTHER_ID) in out
    body = {"ids": [str(DIFF_ID), str(OTHER_ID)], "side": "relational", "reason": "ok"}
    assert system.asked == [("POST", "diffs/approve", body)]


def test_diffs_are_chosen_by_filter_after_a_question_that_says_how_many(typed, system, answers):
    answers += [False, True]
    system.answer("GET", "diffs", Page([make_diff()], "more"), Page([make_diff(id=OTHER_ID)]))
    system.answer("POST", "diffs/approve", [make_diff(), make_diff(id=OTHER_ID)])
    line = f"diffs approve --run {RUN_ID} --kind fields --side document --reason ok"

    refused, _, err = typed(line)
    assert (refused, posted(system)) == (1, [])
    assert "nothing was done" in err
    system.answer("GET", "diffs", Page([make_diff()], "more"), Page([make_diff(id=OTHER_ID)]))
    code, _, _ = typed(line)

    assert code == 0
    assert questions == ["Let the document side win in 2 diffs?"] * 2
    assert posted(system)[0][1]["ids"] == [str(DIFF_ID), str(OTHER_ID)]


def test_with_yes_nobody_is_asked(typed, system, answers):
    system.answer("GET", "diffs", Page([]), Page([make_diff()]), Page([]))
    system.answer("POST", "diffs/reject", [make_diff(status="rejected")])

    code, out, _ = typed("diffs reject --entity bookings --reason known --yes --json")

    assert (code, questions) == (0, [])
    assert [each["status"] for each in json.loads(out)] == ["rejected"]


@pytest.mark.parametrize(
    "line",
    [
        "diffs reject --reason no",
        f"diffs reject {DIFF_ID} --entity bookings --reason no",
        "undo --reason no",
        f"undo --run {RUN_ID} --change {CHANGE_ID} --reason no",
    ],
)
def test_what_is_meant_must_be_said_in_one_way(typed, system, line: str):
    code, _, err = typed(line)
    assert code == 1
    assert "hint" in err
    assert system.asked == []


def test_a_filter_that_finds_nothing_decides_nothing(typed, system):
    system.answer("GET", "diffs", Page([]))
    code, _, err = typed("diffs reject --entity bookings --reason known --yes")
    assert code == 1
    assert "no diff" in err
    assert posted(system) == []


def test_more_diffs_than_one_call_decides_are_refused_before_any_is_decided(typed, system):
    many = [make_diff(id=UUID(int=number)) for number in range(1001)]
    system.answer("POST", "diffs/reject", [make_diff(status="rejected")])
    for line in ("--run " + str(RUN_ID), " ".join(str(each.id) for each in many)):
        system.answer("GET", "diffs", Page(many), Page([]))
        code, _, err = typed(f"diffs reject {line} --reason known --yes")
        assert (code, posted(system)) == (1, [])
        assert "more than the 1,000 diffs" in err
        assert "--limit 1000" in err

    system.answer("GET", "diffs", Page(many), Page([]))
    code, _, _ = typed(f"diffs reject --run {RUN_ID} --limit 1000 --reason known --yes")
    assert code == 0
    assert posted(system)[0][1]["ids"] == [str(each.id) for each in many[:1000]]


def test_of_chosen_diffs_those_where_no_side_can_be_chosen_are_left_out(typed, system):
    others = [make_diff(id=UUID(int=number), entity="tickets", approvable=False) for number in (7, 8)]
    system.answer("GET", "diffs", Page([others[0], make_diff(entity="tickets"), others[1]]))
    system.answer("POST", "diffs/approve", [make_diff(status="approved")])

    code, _, err = typed("diffs approve --entity tickets --side document --reason ok --yes")

    assert code == 0
    assert posted(system)[0][1]["ids"] == [str(DIFF_ID)]
    assert "2 left out" in err


@pytest.mark.parametrize("decision", ["approve --side document", "reject"])
def test_no_more_pages_are_read_than_the_limit_needs(typed, system, decision: str):
    pages = [Page([make_diff(approvable=False), make_diff(id=UUID(int=at))], "more") for at in range(3)]
    system.answer("GET", "diffs", *pages)
    system.answer("POST", f"diffs/{decision.split(maxsplit=1)[0]}", [make_diff()])

    code, _, _ = typed(f"diffs {decision} --entity bookings --limit 2 --reason ok --yes")

    assert code == 0
    assert len(posted(system)[0][1]["ids"]) == 2
    assert len(system.asked) - len(posted(system)) == (2 if "approve" in decision else 1)


def test_holds_are_listed_and_placing_tells_which_were_held_already(typed, system):
    system.answer("GET", "holds", Page([make_hold()], "more"))
    system.answer("POST", "holds", HoldsPlaced([make_hold(key="a")], [make_hold(key="b")]))

    _, out, err = typed("holds")
    assert "a legal matter" in " ".join(out.split())
    assert "--cursor more" in err
    code, _, err = typed("holds place bookings a b --reason ok")
    assert code == 0
    assert "1 of them held already" in err


def test_an_undo_says_how_much_it_is_and_asks_first(typed, system, answers):
    answers += [False]
    system.answer("POST", "undos/preview", UndoPreview(changes=3, records=2, refused=1))

    code, _, _ = typed(f"undo --run {RUN_ID} --reason wrong")

    assert code == 1
    assert questions == ["Undo 3 changes of 2 records (1 more cannot be undone), and hold the records?"]
    assert posted(system) == [("undos/preview", {"run_id": str(RUN_ID)})]


def test_an_undo_is_followed_to_its_end(typed, system, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(undo_command, "POLL_SECONDS", 0)
    system.answer("POST", "undos/preview", UndoPreview(changes=1, records=1, refused=0))
    system.answer("POST", "undos", make_undo(status="queued", pending=3, undone=0), status=202)
    collecting = make_undo(status="collecting", changes=1, records=1, pending=1, undone=0)
    system.answer("GET", f"undos/{UNDO_ID}", collecting, make_undo(status="working", pending=1), make_undo())
    system.answer("GET", f"undos/{UNDO_ID}/items", Page([]))

    code, out, err = typed(f"undo --change {CHANGE_ID} --reason wrong --yes")

    assert code == 0
    assert "undoing 1 change of 1 record" in err
    assert str(UNDO_ID) in out
    assert posted(system)[1] == ("undos", {"change_ids": [str(CHANGE_ID)], "reason": "wrong"})


def test_who_stops_watching_an_undo_is_told_how_to_see_it(typed, system, monkeypatch: pytest.MonkeyPatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(undo_command, "_follow", interrupt)
    system.answer("POST", "undos/preview", UndoPreview(changes=1, records=1, refused=0))
    system.answer("POST", "undos", make_undo(status="queued", pending=3, undone=0), status=202)

    code, _, err = typed(f"undo --change {CHANGE_ID} --reason wrong --yes")

    assert code == 130
    assert f"`astrocore undos show {UNDO_ID}`" in err


def test_what_could_not_be_undone_is_listed_and_fails_the_command(typed, system):
    system.answer("POST", "undos/preview", UndoPreview(changes=3, records=2, refused=0))
    system.answer("POST", "undos", make_undo(undone=2, refused=1), status=202)
    system.answer("GET", f"undos/{UNDO_ID}/items", Page([make_item()]))

    code, out, err = typed(f"undo --run {RUN_ID} --reason wrong --yes")
    assert code == 1
    assert "changed since: status" in " ".join(out.split())
    assert "1 of 3 changes could not be undone" in err
    code, out, _ = typed(f"undo --run {RUN_ID} --reason wrong --yes --json")
    assert code == 1
    assert [each["reason"] for each in json.loads(out)["refused"]] == ["changed since: status"]

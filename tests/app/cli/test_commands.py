import json

import httpx
import pytest

from app.pages import Page
from app.reconciliation.ledger.views import FieldView, HoldsPlaced, RecordView
from tests.app.cli.factories import (
    DIFF_ID,
    KEY,
    RUN_ID,
    START,
    UNDO_ID,
    make_change,
    make_diff,
    make_hold,
    make_item,
    make_job,
    make_run,
    make_undo,
)


@pytest.mark.parametrize("line", ["runs", "runs list"])
def test_runs_are_listed(typed, system, line: str):
    system.answer("GET", "runs", Page([make_run(dry_run=True)], "more"))

    code, out, err = typed(line)

    assert code == 0
    assert out.splitlines()[2].split() == f"{RUN_ID} customers full, dry done 01 Jan 12:00 5 1".split()
    assert "--cursor more" in err


def test_what_is_asked_for_is_passed_on(typed, system, monkeypatch: pytest.MonkeyPatch):
    asked: list[str] = []
    handle = system.handle
    monkeypatch.setattr(
        system, "handle", lambda request: asked.append(request.url.query.decode()) or handle(request)
    )
    system.answer("GET", "runs", Page([]))
    for path in ("diffs", "changes", "holds", "undos", f"undos/{UNDO_ID}/items"):
        system.answer("GET", path, Page([]))
    system.answer("GET", f"undos/{UNDO_ID}", make_undo())

    typed("runs --entity customers --mode full --status active --limit 5 --cursor abc")
    typed(f"diffs list --entity bookings --status pending --run {RUN_ID} --limit 7")
    typed("diffs --kind invariant --id A-1")
    typed("changes --entity bookings --id A-1 --limit 7 --cursor abc")
    typed(f"changes --run {RUN_ID}")
    typed("holds --entity bookings --id A-1")
    typed("undos --limit 3 --cursor abc")
    typed(f"undos show {UNDO_ID} --status refused --limit 9 --cursor abc")

    assert asked == [
        "entity=customers&mode=full&status=active&limit=5&cursor=abc",
        f"entity=bookings&status=pending&run_id={RUN_ID}&limit=7",
        "kind=invariant&id=A-1&limit=20",
        "entity=bookings&id=A-1&limit=7&cursor=abc",
        f"run_id={RUN_ID}&limit=20",
        "entity=bookings&id=A-1&limit=20",
        "limit=3&cursor=abc",
        "",
        "status=refused&limit=9&cursor=abc",
    ]


@pytest.mark.parametrize(
    ("line", "method", "path", "answer", "body"),
    [
        ("runs --json", "GET", "runs", Page([make_run()]), None),
        (f"runs show {RUN_ID} --json", "GET", f"runs/{RUN_ID}", make_run(), None),
        (
            f"runs cancel {RUN_ID} --json", "POST", f"runs/{RUN_ID}/cancel", make_run(),
            {"reason": "cancelled at the command line"},
        ),
        (f"runs cancel {RUN_ID} --reason no --json", "POST", f"runs/{RUN_ID}/cancel", make_run(), {"reason": "no"}),
        (f"runs approve {RUN_ID} --reason ok --json", "POST", f"runs/{RUN_ID}/approve", make_run(), {"reason": "ok"}),
        ("diffs --json", "GET", "diffs", Page([make_diff()]), None),
        (f"diffs show {DIFF_ID} --json", "GET", f"diffs/{DIFF_ID}", make_diff(), None),
        (
            f"diffs approve {DIFF_ID} --side document --reason ok --json", "POST", "diffs/approve",
            [make_diff()], {"ids": [str(DIFF_ID)], "side": "document", "reason": "ok"},
        ),
        (
            f"diffs reject {DIFF_ID} --reason ok --json", "POST", "diffs/reject", [make_diff()],
            {"ids": [str(DIFF_ID)], "reason": "ok"},
        ),
        ("holds --json", "GET", "holds", Page([make_hold()]), None),
        (
            f"holds place bookings {KEY} --reason ok --json", "POST", "holds", HoldsPlaced([make_hold()], []),
            {"records": [{"entity": "bookings", "id": KEY}], "reason": "ok"},
        ),
        (
            f"holds release bookings {KEY} --reason ok --json", "POST", "holds/release", [make_hold()],
            {"records": [{"entity": "bookings", "id": KEY}], "reason": "ok"},
        ),
        ("jobs --json", "GET", "jobs", [make_job()], None),
        ("changes --json", "GET", "changes", Page([make_change()]), None),
        ("undos --json", "GET", "undos", Page([make_undo()]), None),
        (
            f"history bookings {KEY} --json", "GET", f"records/bookings/{KEY}",
            RecordView("bookings", KEY, None, None, [], None, [], []), None,
        ),
    ],
)  # fmt: skip
def test_with_json_stdout_is_what_the_system_answered(typed, system, *, line, method, path, answer, body):
    system.answer(method, path, answer)

    code, out, err = typed(line)

    assert (code, err) == (0, "")
    assert system.asked == [(method, path, body)]
    answered = system.handle(httpx.Request(method, f"http://x/v1/reconciliation/{path}"))
    assert json.loads(out) == answered.json()


def test_a_run_is_shown_with_all_there_is_to_say(typed, system):
    system.answer(
        "GET", f"runs/{RUN_ID}", make_run(status="held", reason="600 changes within an hour, more than 100")
    )

    _, out, _ = typed(f"runs show {RUN_ID}")

    lines = {line.split("  ")[0]: " ".join(line.split()) for line in out.splitlines()}
    assert lines["status"] == "status held"
    assert lines["reason"].endswith("600 changes within an hour, more than 100")
    assert lines["found"] == "found 5 (3 fields, 2 missing document)"
    assert lines["came of it"] == "came of it 4 repaired, 1 in review"


def test_diffs_are_listed_by_what_differs(typed, system):
    system.answer("GET", "diffs", Page([make_diff(), make_diff(kind="missing_document", fields=[])]))

    _, out, _ = typed("diffs")

    assert "status, number_of_seats" in out
    assert "missing document" in out


def test_a_diff_is_shown_field_by_field_with_the_rule_and_the_winner(typed, system):
    system.answer("GET", f"diffs/{DIFF_ID}", make_diff())

    _, out, _ = typed(f"diffs show {DIFF_ID}")

    assert "status Cancelled Completed precedence an operator decides" in " ".join(out.split())
    assert "number_of_seats 1 2 the document side is document" in " ".join(out.split())
    assert "becomes" not in out


def test_a_value_that_neither_side_had_is_shown_too(typed, system):
    field = FieldView("available_seats", 4, 9, "derived", "relational", 7)
    system.answer("GET", f"diffs/{DIFF_ID}", make_diff(fields=[field]))

    _, out, _ = typed(f"diffs show {DIFF_ID}")

    assert "field document relational rule wins becomes" in " ".join(out.split())
    assert "available_seats 4 9 derived relational 7" in " ".join(out.split())


@pytest.mark.parametrize(
    ("line", "change"),
    [
        ("repair", {"repairs": True}),
        ("observe", {"repairs": False}),
        ("pause", {"paused": True}),
        ("resume", {"paused": False}),
    ],
)
def test_a_job_or_all_of_them_are_changed_and_shown(typed, system, line: str, change: dict[str, bool]):
    names = ["customers-full", "bookings-full"]
    system.answer("GET", "jobs", [make_job(name) for name in names])
    for name in names:
        system.answer("PATCH", f"jobs/{name}", make_job(name, **change))

    one, out, _ = typed(f"jobs {line} bookings-full --reason why")
    every, listed, _ = typed(f"jobs {line} --all --reason why --json")

    assert (one, every) == (0, 0)
    assert "bookings-full" in out
    assert [job["name"] for job in json.loads(listed)] == names
    patched = [(path, body) for method, path, body in system.asked if method == "PATCH"]
    assert patched == [(f"jobs/{name}", {**change, "reason": "why"}) for name in ["bookings-full", *names]]


def test_repairs_are_allowed_and_the_jobs_of_the_entity_shown(typed, system):
    system.answer("POST", "entities/bookings/allow-repairs", None, status=204)
    system.answer("GET", "jobs", [make_job(), make_job("customers-full")])

    code, out, _ = typed("jobs allow bookings --reason looked --json")

    assert code == 0
    assert [job["name"] for job in json.loads(out)] == ["bookings-full"]
    assert system.asked[0] == ("POST", "entities/bookings/allow-repairs", {"reason": "looked"})


def test_jobs_say_whether_they_repair_and_why_they_were_stopped(typed, system):
    system.answer("GET", "jobs", [make_job(repairs=True, paused=True, stopped="600 changes within an hour")])

    _, out, _ = typed("jobs")

    assert "repairs, paused" in out
    assert "600 changes within an hour" in " ".join(out.split())


def test_the_history_of_a_record_tells_why_each_field_is_what_it_is(typed, system):
    record = RecordView(
        entity="bookings",
        key=KEY,
        document={"status": "Completed", "number_of_seats": 1, "note": None},
        relational={"status": "Confirmed", "number_of_seats": 1, "note": None},
        differing=["status"],
        waiting="its turn",
        hold=make_hold(),
        diffs=[make_diff()],
        changes=[make_change(), make_change(outcome=None, finished_at=None, action="create", before=None)],
    )
    system.answer("GET", f"records/bookings/{KEY}", record)

    _, out, _ = typed(f"history bookings {KEY}")

    flat = " ".join(out.split())
    assert "differs in 1" in flat
    assert "waits to be looked at: its turn" in flat
    assert "held by operator: a legal matter" in flat
    assert "≠ status Completed Confirmed" in flat
    assert "update on the relational side" in flat
    assert "status Confirmed Completed Completed beats Confirmed" in flat
    assert "number_of_seats 2 1 the document side is right" in flat
    assert "same 1 1" not in flat.split("changes:")[1].split("create on")[0]
    assert "outcome applied" in flat
    assert "outcome not known yet" in flat
    assert max(map(len, out.splitlines())) <= 100


def test_the_history_of_a_forgotten_person_names_what_was_erased(typed, system):
    update = make_change(
        entity="customers", before={"is_vip": True}, after={"is_vip": True}, policy={"email": "the document side"},
        erased=["email", "last_name"],
    )  # fmt: skip
    create = make_change(
        entity="customers", action="create", before=None, after={"is_vip": True}, policy={"record": "missing"},
        erased=["email"],
    )  # fmt: skip
    record = RecordView(
        entity="customers", key=KEY, document=None, relational=None, differing=[], waiting=None,
        diffs=[make_diff(erased_at=START)], changes=[create, update],
    )  # fmt: skip
    system.answer("GET", f"records/customers/{KEY}", record)

    _, out, _ = typed(f"history customers {KEY}")

    lines = [line.split() for line in out.splitlines()]
    assert ["email", "(erased)", "(erased)", "the", "document", "side"] in lines
    assert ["email", "(erased)"] in lines, "it was created"
    assert not [line for line in lines if line[:1] == ["last_name"]]
    assert "the person was forgotten" in out


def test_the_history_says_how_to_list_what_is_older_than_it_shows(typed, system):
    key = "A 1"
    record = RecordView("tickets", key, {}, {}, [], None, [], [], more_diffs="d", more_changes="c")
    system.answer("GET", "records/tickets/A1", record, record.__replace__(more_changes=None))

    _, out, _ = typed("history tickets A1")
    _, last, _ = typed("history tickets A1")

    assert "older ones: astrocore diffs --entity tickets --id 'A 1' --cursor d\n" in out
    assert "older ones: astrocore changes --entity tickets --id 'A 1' --cursor c\n" in out
    assert last.count("older ones") == 1


def test_changes_are_listed_with_their_records_and_what_became_of_them(typed, system):
    undoing = make_change(undoes=UNDO_ID, outcome=None)
    system.answer("GET", "changes", Page([make_change(), undoing], "more"))

    code, out, err = typed("changes")

    assert code == 0
    lines = [line.split() for line in out.splitlines()[2:]]
    assert lines == [
        [str(undoing.id), "relational", "update", "applied", "01", "Jan", "12:00"],
        ["bookings", KEY],
        [str(undoing.id), "relational", "update", "(undo)", "-", "01", "Jan", "12:00"],
        ["bookings", KEY],
    ]
    assert "--cursor more" in err


def test_undos_are_listed_and_one_is_shown_with_what_could_not_be_taken_back(typed, system):
    undo = make_undo(undone=2, refused=1, run_id=RUN_ID)
    items = Page([make_item(), make_item(status="undone", reason=None)], "more")
    system.answer("GET", "undos", Page([undo]))
    system.answer("GET", f"undos/{UNDO_ID}", undo)
    system.answer("GET", f"undos/{UNDO_ID}/items", items)

    _, listed, _ = typed("undos")
    code, shown, err = typed(f"undos show {UNDO_ID}")
    _, document, _ = typed(f"undos show {UNDO_ID} --json")

    assert listed.splitlines()[2].split() == f"{UNDO_ID} a run done 3 2 1 01 Jan 12:00".split()
    assert code == 0
    assert f"run {RUN_ID}" in shown
    assert "document refused changed since: status" in " ".join(shown.split())
    assert "--cursor more" in err
    told = json.loads(document)
    assert (told["undo"]["refused"], len(told["items"]["items"])) == (1, 2)


@pytest.mark.parametrize(
    ("document", "relational", "words"),
    [
        (None, None, "is on neither side"),
        (None, {"a": 1}, "is missing on the document side"),
        ({"a": 1}, None, "is missing on the relational side"),
        ({"a": 1}, {"a": 1}, "agrees on both sides"),
    ],
)
def test_the_history_begins_with_how_the_sides_stand(typed, system, document, relational, words: str):
    record = RecordView("bookings", KEY, document, relational, [], None, [], [])
    system.answer("GET", f"records/bookings/{KEY}", record)

    assert words in typed(f"history bookings {KEY}")[1].splitlines()[0]

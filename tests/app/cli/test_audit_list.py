"""`astrocore audit list` and `show`."""

import json
from datetime import UTC, datetime
from uuid import UUID

import httpx
import msgspec
import pytest
from msgspec.structs import replace

from app.audit.entries import Fact, FactEntry, Outcome, OutcomeEntry, Personal
from app.audit.views import EntryPage, EntryView, Found, view

AT = datetime(2026, 1, 1, 12, 30, 5, tzinfo=UTC)


def entry(reason: str = "too busy") -> EntryView:
    said = FactEntry(
        id=UUID(int=1), at=AT, name=Fact.RUN_PAUSED, actor="ann", target="7", reason=reason, detail={"x": 1}
    )
    return view(Found(42, said))


@pytest.fixture
def asked(system, monkeypatch: pytest.MonkeyPatch) -> list[httpx.URL]:
    seen: list[httpx.URL] = []
    handle = system.handle
    monkeypatch.setattr(system, "handle", lambda request: seen.append(request.url) or handle(request))
    return seen


def answer(system, path: str, value: object) -> None:
    system._answers["GET", path] = [httpx.Response(200, content=msgspec.json.encode(value))]


@pytest.mark.parametrize("line", ["audit", "audit list"])
def test_entries_are_listed(typed, system, line: str):
    answer(system, "/v1/audit", EntryPage([entry()], "more", complete=True))

    code, out, err = typed(line)

    assert code == 0
    assert out.splitlines()[2].split() == [
        "42",
        "2026-01-01",
        "12:30:05",
        "ann",
        "paused",
        "run",
        "7:",
        "too",
        "busy",
    ]
    assert "--cursor more" in err
    assert "looked at" not in err


def test_a_page_that_ended_early_says_so(typed, system):
    answer(system, "/v1/audit", EntryPage([], "more", complete=False))
    code, out, err = typed("audit list --actor ann")
    assert code == 0
    assert "none" in out
    assert "only some entries were looked at" in err


def test_what_is_asked_for_is_passed_on(typed, system, asked):
    answer(system, "/v1/audit", EntryPage([], None, complete=True))
    typed(
        f"audit list --kind fact --name operator:run:pause --actor ann --run {UUID(int=7)} --entity customers --id A-1 "
        "--since 2026-01-01T00:00:00Z --until 2026-01-02T00:00:00+01:00 --order oldest --limit 5 --cursor abc"
    )
    (url,) = asked
    assert dict(url.params) == {
        "kind": "fact",
        "name": "operator:run:pause",
        "actor": "ann",
        "run_id": str(UUID(int=7)),
        "entity": "customers",
        "id": "A-1",
        "since": "2026-01-01T00:00:00+00:00",
        "until": "2026-01-01T23:00:00+00:00",
        "order": "oldest",
        "limit": "5",
        "cursor": "abc",
    }


def test_how_long_ago_is_settled_before_it_is_asked_for(typed, system, asked):
    answer(system, "/v1/audit", EntryPage([], None, complete=True))
    typed("audit list --since 15m")
    assert datetime.fromisoformat(asked[0].params["since"]).tzinfo is UTC


def test_a_moment_that_is_none_is_told_of(typed, system, asked):
    code, _, err = typed("audit list --since yesterday")
    assert code == 1
    assert "how long ago" in err
    assert asked == []


def test_an_entry_is_shown_with_all_that_it_holds(typed, system):
    answer(system, "/v1/audit/42", entry("too\x1b[31m busy"))

    code, out, _ = typed("audit show 42")

    assert code == 0
    assert "\x1b" not in out
    told = [line.rstrip().split(maxsplit=1) for line in out.splitlines()[1:]]
    assert ["name", "operator:run:pause"] in told
    assert ["detail", '{"x":1}'] in told
    assert ["id", str(UUID(int=1))] in told


def test_json_is_what_the_api_answered(typed, system):
    answer(system, "/v1/audit/42", entry())
    answer(system, "/v1/audit", EntryPage([entry()], None, complete=True))

    (_, shown, _), (_, listed, _) = typed("audit show 42 --json"), typed("audit list --json")

    assert json.loads(shown)["entry"]["reason"] == "too busy"
    assert json.loads(listed)["items"] == [json.loads(shown)]


def test_an_entry_says_whose_values_it_holds_and_that_they_are_erased(typed, system):
    personal = Personal(("customers/7",), ("email", "phone"), (UUID(int=3),), b"x")
    told = OutcomeEntry(UUID(int=1), AT, Outcome.INDETERMINATE)
    for each, shown in (
        (told, None),
        (replace(told, personal=personal), "email, phone, of customers/7, erased"),
    ):
        answer(system, "/v1/audit/42", view(Found(42, each)))
        code, out, _ = typed("audit show 42")
        assert code == 0
        assert (shown in out) if shown else ("personal" not in out)
    assert "what was found is erased" in out

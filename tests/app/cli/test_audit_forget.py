"""Forgetting a person at the command line."""

import io
import json
from typing import Any

import pytest
from msgspec.structs import replace

from app.cli import client
from app.reconciliation.ledger.views import ErasureView
from tests.app.cli.factories import KEY

ERASURES = "/v1/audit/erasures"
FOUND = ErasureView(
    "customers", KEY, key=True, changes=3, diffs=1, facts=0, letters=2, document=True, relational=True
)
NOTHING = replace(FOUND, key=False, changes=0, diffs=0, letters=0)
PERSON = {"person": KEY, "entity": "customers"}


@pytest.fixture(autouse=True)
def base(monkeypatch: pytest.MonkeyPatch, system) -> None:
    """The system's answers are named from the root on."""
    monkeypatch.setattr(client, "BASE", "")


def answer(system, found: ErasureView) -> None:
    system.answer("POST", f"{ERASURES[1:]}/preview", found)
    system.answer("POST", ERASURES[1:], replace(found, document=False))


def asked(system) -> list[tuple[str, Any]]:
    return [(path, body) for _, path, body in system.asked]


def test_what_it_means_is_said_before_it_is_asked_for(typed, system, monkeypatch) -> None:
    answer(system, FOUND)
    said = [False, True]
    monkeypatch.setattr("app.cli.options.typer.confirm", lambda *_question, **_options: said.pop(0))

    code, out, err = typed(f"audit forget {KEY} --reason asked")
    assert (code, out) == (1, "")
    assert "3 changes that can no longer be read or undone" in err
    assert "1 diff without" in err
    assert "still in the customer DB and in the admin DB" in err
    assert "nothing was done" in err
    assert len(system.asked) == 1

    code, out, _ = typed(f"audit forget {KEY} --reason asked")
    assert code == 0
    assert "3 changes" in out
    assert asked(system)[-1][1] == {**PERSON, "reason": "asked"}


def test_in_a_pipe_nothing_is_erased_without_yes(typed, system, monkeypatch) -> None:
    answer(system, FOUND)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    code, _, err = typed(f"audit forget {KEY}")
    assert code == 1
    assert "--yes" in err
    assert len(system.asked) == 1


def test_with_yes_it_is_done_and_told_as_one_document(typed, system) -> None:
    answer(system, replace(FOUND, document=False, relational=False))
    code, out, err = typed(f"audit forget {KEY} --entity tickets --yes --json")
    assert code == 0
    assert json.loads(out)["changes"] == 3
    assert "still in" not in err
    assert asked(system)[-1][1] == {"person": KEY, "entity": "tickets"}


def test_an_archive_that_cannot_be_read_is_said_before_it_is_asked(typed, system) -> None:
    answer(system, replace(FOUND, unread=True))
    code, out, err = typed(f"audit forget {KEY} --yes")
    assert code == 0
    assert "an archive of the audit store cannot be read" in err
    assert "at least 3 changes" in out


def test_where_nothing_is_left_nobody_is_asked(typed, system) -> None:
    answer(system, NOTHING)
    code, out, err = typed(f"audit forget {KEY}")
    assert (code, err) == (0, "")
    assert out == f"nothing is left to erase of customers {KEY}\n"
    assert len(system.asked) == 1

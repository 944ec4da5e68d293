"""Users at the command line: what is asked of the system, and what is told."""

import io
import json
from typing import Any
from uuid import UUID

import pytest

from app.accounts.views import SessionView
from app.cli import client
from app.pages import Page
from tests.app.cli.factories import START, make_user

ADA = make_user()
PATH = f"v1/users/{ADA.id}"
EMAIL = "ada@example.com"


@pytest.fixture(autouse=True)
def users(monkeypatch: pytest.MonkeyPatch, system) -> None:
    """A system that knows ada and nobody else; its paths are named from the root on."""
    monkeypatch.setattr(client, "BASE", "")
    system.answer("GET", "v1/users", Page([ADA], None))
    system.answer("GET", PATH, ADA)


@pytest.fixture
def prompts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    given: list[str] = []

    def prompt(_question: str, *, hide_input: bool, confirmation_prompt: bool, err: bool) -> str:
        assert hide_input
        assert confirmation_prompt
        assert err
        return given.pop(0)

    monkeypatch.setattr("app.cli.users.typer.prompt", prompt)
    return given


def asked(system, method: str = "POST") -> list[tuple[str, Any]]:
    return [(path.lstrip("/"), body) for each, path, body in system.asked if each == method]


def test_users_are_listed(typed, system):
    code, out, _ = typed("users")
    assert (code, str(ADA.id) in out, EMAIL in out) == (0, True, True)
    code, out, _ = typed(f"users list --email {EMAIL} --role operator --status active --json")
    assert (code, json.loads(out)["items"][0]["id"]) == (0, str(ADA.id))
    assert typed("users --status asleep")[0] == 2


def test_a_user_is_shown_with_where_they_are_signed_in(typed, system):
    session = SessionView(UUID(int=3), "shop", ["pwd"], "2001:db8::1", "a \x1b[31mphone", START, START, START)
    system.answer("GET", f"{PATH}/sessions", [session])
    code, out, _ = typed(f"users show {EMAIL}")
    assert (code, "2001:db8::1" in out, "\x1b" in out) == (0, True, False)
    assert "language       en" in out
    code, out, _ = typed(f"users show {ADA.id} --json")
    shown = json.loads(out)
    assert (shown["user"]["email"], shown["sessions"][0]["client"]) == (EMAIL, "shop")


def test_whoever_is_not_found_is_named(typed, system):
    system.answer("GET", "v1/users", Page([], None))
    for line in ("show", "reset", "lock --reason x", "delete --reason x --yes"):
        verb, *options = line.split()
        told = typed(f"users {verb} bob@example.com {' '.join(options)}")
        what = "astrocore: no user has the address bob@example.com\n  hint: `astrocore users` lists them\n"
        assert told == (1, "", what)
    assert {method for method, _, _ in system.asked} == {"GET"}


def test_an_empty_address_is_nobodys(typed, system):
    system.answer("GET", "v1/users", Page([ADA], None))
    system.answer("DELETE", PATH, None)
    code, _, err = typed("users delete '' --reason x --yes")
    assert (code, err) == (1, "astrocore: email is empty\n  hint: give it a value, or leave it out\n")
    assert system.asked == []


def test_a_user_is_added_with_a_link_or_with_a_password(typed, system, prompts: list[str]):
    system.answer("POST", "v1/users", ADA)
    body = {"email": EMAIL, "given_name": "Ada", "family_name": "", "roles": ["operator"]}
    code, out, _ = typed(f"users create {EMAIL} --given-name Ada --role operator --json")
    assert (code, json.loads(out)["id"]) == (0, str(ADA.id))

    prompts.append("a long enough secret")
    code, out, err = typed(f"users create {EMAIL} --given-name Ada --role operator --password")
    assert (code, "a long enough secret" in out + err) == (0, False)
    assert asked(system) == [("v1/users", body), ("v1/users", body | {"password": "a long enough secret"})]
    assert typed(f"users create {EMAIL} --locale es")[0] == 0
    assert asked(system)[-1][1]["locale"] == "es"


def test_what_is_wrong_with_a_new_user_is_told_fault_by_fault(typed, system):
    problem = {"detail": "the password is refused", "errors": [{"where": "password", "message": "too short"}]}
    system.answer("POST", "v1/users", problem, status=422)
    assert typed(f"users create {EMAIL}") == (
        1,
        "",
        "astrocore: the password is refused\n  password: too short\n",
    )


def test_the_first_user_is_an_admin_and_nothing_else(typed, system, prompts: list[str]):
    code, out, err = typed(f"users create {EMAIL} --bootstrap --role customer")
    assert (code, out, system.asked) == (2, "", [])
    assert "--bootstrap" in err


def test_only_what_is_given_is_changed(typed, system):
    system.answer("PATCH", PATH, ADA)
    for options, body in {
        "--role admin --role auditor": {"roles": ["admin", "auditor"]},
        "--no-roles": {"roles": []},
        "--locale es-MX": {"locale": "es-MX"},
        "--email bob@example.com --family-name": {"email": "bob@example.com", "family_name": "Kahn"},
    }.items():
        name = " Kahn" if options.endswith("name") else ""
        assert typed(f"users change {ADA.id} {options}{name} --json")[0] == 0
        assert asked(system, "PATCH")[-1] == (PATH, body)
    before = len(system.asked)
    for options in ("", "--role admin --no-roles"):
        assert typed(f"users change {ADA.id} {options}")[0] == 2
    assert len(system.asked) == before


@pytest.mark.parametrize("verb", ["lock", "unlock", "disable"])
def test_a_user_is_let_in_or_kept_out_for_a_reason(typed, system, verb: str):
    system.answer("POST", f"{PATH}/{verb}", ADA)
    assert typed(f"users {verb} {EMAIL}")[0] == 2
    code, out, _ = typed(f"users {verb} {EMAIL} --reason suspicion --json")
    assert (code, json.loads(out)["id"]) == (0, str(ADA.id))
    assert asked(system) == [(f"{PATH}/{verb}", {"reason": "suspicion"})]


@pytest.mark.parametrize(
    ("line", "path", "body"),
    [
        ("allow --reason theirs", "allow-sign-in", {"reason": "theirs"}),
        ("reset", "password-reset", {}),
    ],
)
def test_a_user_is_helped_to_sign_in_again(typed, system, line: str, path: str, body: dict):
    system.answer("POST", f"{PATH}/{path}", None)
    code, out, _ = typed(f"users {line} {EMAIL} --json")
    assert (code, json.loads(out)) == (0, {"id": str(ADA.id)})
    assert asked(system) == [(f"{PATH}/{path}", body)]


def test_nobody_is_deleted_without_a_reason_and_a_yes(typed, system, monkeypatch: pytest.MonkeyPatch):
    system.answer("DELETE", PATH, None)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert typed(f"users delete {EMAIL} --yes")[0] == 2
    code, out, err = typed(f"users delete {EMAIL} --reason asked")
    assert (code, out.strip(), "--yes" in err, EMAIL in err) == (1, "", True, True)
    monkeypatch.setattr("app.cli.options.typer.confirm", lambda *_question, **_options: False)
    assert typed(f"users delete {EMAIL} --reason asked")[0] == 1
    assert asked(system, "DELETE") == []

    code, out, _ = typed(f"users delete {EMAIL} --reason asked --yes --json")
    assert (code, json.loads(out)) == (0, {"id": str(ADA.id)})
    assert asked(system, "DELETE") == [(PATH, None)]

"""Signing in and out at the command line, and commands that run as a user."""

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import msgspec
import pytest

from app.accounts.views import UserView
from app.cli import client
from app.cli.errors import CommandError
from app.cli.session_file import SessionFile
from config.settings import settings
from tests.app.cli.factories import make_user

PASSWORD = "correct horse battery staple"
NEEDS_CODE = {
    "type": "urn:astrobookings:problem:second-factor-needed",
    "detail": "a code of the second factor is needed",
}
SESSION = str(UUID(int=5))


class Core:
    """A system in which ada may sign in. It keeps to the rule: a refresh token that is used twice ends the session."""

    def __init__(self) -> None:
        self.good: str | None = None
        self.made = 0
        self.replayed = False
        self.code: str | None = None
        self.asked: list[str] = []
        self.ended: list[str] = []
        self.refuse: Callable[[httpx.Request], httpx.Response | None] = lambda _: None

    def handle(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        self.asked.append(path)
        if refused := self.refuse(request):
            return refused
        if path == "/oauth/token":
            return httpx.Response(200, json={"access_token": "of-the-client", "expires_in": 300})
        if path.startswith("/v1/auth/"):
            return getattr(self, path.rpartition("/")[2])(json.loads(request.content))
        if self.good is None or not request.headers["authorization"].startswith("Bearer of-ada-"):
            return httpx.Response(401, json={"detail": "no"})
        return httpx.Response(200, content=msgspec.json.encode(make_user()))

    def login(self, body: dict[str, Any]) -> httpx.Response:
        assert (body["client_ip"], body["device"]) == ("127.0.0.1", "astrocore")
        if body["password"] != PASSWORD:
            return httpx.Response(401, json={"detail": "the address or the password is wrong"})
        if self.code and "code" not in body:
            return httpx.Response(401, json=NEEDS_CODE)
        if self.code and body["code"] != self.code:
            return httpx.Response(401, json={"detail": "the address or the password is wrong"})
        return self._next()

    def refresh(self, body: dict[str, Any]) -> httpx.Response:
        time.sleep(0.01)  # whoever comes at the same time is here by now
        if body["refresh_token"] != self.good:
            self.good, self.replayed = None, True
            return httpx.Response(401, json={"detail": "the refresh token is not good any more"})
        return self._next()

    def logout(self, body: dict[str, Any]) -> httpx.Response:
        self.ended.append(body["refresh_token"])
        if body["refresh_token"] == self.good:
            self.good = None
        return httpx.Response(204)

    def _next(self) -> httpx.Response:
        self.made += 1
        self.good = f"acr_{self.made}"
        signed_in = {"access_token": f"of-ada-{self.made}", "expires_in": 300, "refresh_token": self.good}
        return httpx.Response(200, json=signed_in | {"session": SESSION, "user": str(make_user().id)})


@pytest.fixture
def core(system: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Core:
    made = Core()
    monkeypatch.setattr(system, "handle", made.handle)
    for name, value in {"CLIENT_ID": "shell", "CLIENT_SECRET": "acs_x", "DATA_DIR": str(tmp_path)}.items():
        monkeypatch.setenv(f"ASTROCORE_{name}", value)
    return made


@pytest.fixture
def prompts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What whoever is asked types, question by question."""
    given: list[str] = []

    def prompt(_question: str, *, err: bool, **_options: Any) -> str:
        assert err, "stdout is for what was asked for"
        return given.pop(0)

    monkeypatch.setattr("app.cli.login.typer.prompt", prompt)
    return given


@pytest.fixture
def signed_in(core: Core, prompts: list[str], typed: Any) -> SessionFile:
    prompts.append(PASSWORD)
    assert typed("login ada@example.com")[0] == 0
    return SessionFile.of(settings())


def test_whoever_signs_in_acts_until_signing_out(typed, core: Core, signed_in: SessionFile):
    assert signed_in.path.stat().st_mode & 0o777 == 0o600
    code, out, _ = typed("whoami --json")
    assert (code, json.loads(out)["email"]) == (0, "ada@example.com")
    code, out, _ = typed("whoami")
    assert (code, "ada@example.com" in out) == (0, True)

    assert typed("logout") == (0, "signed out\n", "")
    assert core.good is None
    assert json.loads(typed("whoami --json")[1]) == {"client": "shell"}
    assert typed("logout --json") == (0, '{\n  "signed_out": false\n}\n', "")
    assert not core.replayed


def test_signing_in_tells_a_program_who_and_no_secret(typed, core: Core, prompts: list[str]):
    prompts.append(PASSWORD)
    code, out, err = typed("login ada@example.com --json")
    assert (code, err) == (0, "")
    assert json.loads(out) == {"user": str(make_user().id), "session": SESSION}


def test_signing_in_again_ends_the_session_of_before(typed, core: Core, prompts: list[str], signed_in):
    before = signed_in.read()
    prompts.append(PASSWORD)
    assert typed("login ada@example.com") == (0, "signed in as ada@example.com\n", "")
    assert (core.ended, signed_in.read()) == ([before], core.good)
    core.refuse = lambda request: httpx.Response(503) if request.url.path.endswith("logout") else None
    prompts.append(PASSWORD)
    assert typed("login ada@example.com") == (0, "signed in as ada@example.com\n", "")
    signed_in.path.write_text("")
    prompts.append(PASSWORD)
    assert typed("login ada@example.com")[0] == 0
    assert signed_in.read() == core.good


def test_a_wrong_password_leaves_everything_as_it_was(typed, core: Core, prompts: list[str], signed_in):
    prompts.append("wrong")
    code, out, err = typed("login bob@example.com")
    assert (code, out, err) == (1, "", "astrocore: the address or the password is wrong\n")
    assert signed_in.read() == core.good


@pytest.mark.parametrize(
    ("option", "answers", "expected"),
    [
        ("", [PASSWORD, "123456"], 0),
        ("", [PASSWORD, "000000"], 1),
        ("--code 123456", [PASSWORD], 0),
        ("--code 000000", [PASSWORD], 1),
        ("", ["wrong"], 1),
    ],
)
def test_the_second_factor_is_asked_for_where_it_is_needed(
    typed, core: Core, prompts: list[str], *, option: str, answers: list[str], expected: int
):
    core.code = "123456"
    prompts += answers
    code, _, err = typed(f"login ada@example.com {option}")
    assert (code, prompts) == (expected, [])
    assert len(err.splitlines()) == expected


def test_who_tries_too_often_is_told_when_to_come_again(typed, core: Core, prompts: list[str]):
    busy = httpx.Response(429, json={"detail": "tried too often"}, headers={"retry-after": "7"})
    core.refuse = lambda request: busy if request.url.path.endswith("login") else None
    prompts.append(PASSWORD)
    assert typed("login ada@example.com") == (1, "", "astrocore: tried too often\n  hint: try again in 7 s\n")


def test_where_the_system_is_nowhere_it_is_said(
    typed, core: Core, prompts: list[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ASTROCORE_ISSUER", "https://nowhere.invalid")
    prompts.append(PASSWORD)
    code, _, err = typed("login ada@example.com")
    assert (code, "no running system was found at https://nowhere.invalid" in err) == (1, True)


@pytest.mark.parametrize("line", ["login ada@example.com", "token"])
def test_without_a_client_nobody_signs_in(typed, prompts: list[str], system, line: str):
    prompts.append(PASSWORD)
    code, out, err = typed(line)
    assert (code, out, system.asked) == (1, "", [])
    assert err.startswith("astrocore: no client is known\n  hint: set ASTROCORE_CLIENT_ID")


def test_a_token_is_that_of_who_has_signed_in(typed, core: Core, prompts: list[str]):
    assert typed("token") == (0, "of-the-client\n", "")
    prompts.append(PASSWORD)
    typed("login ada@example.com")
    assert typed("token") == (0, "of-ada-2\n", "")
    assert json.loads(typed("token --json")[1]) == {"access_token": "of-ada-3"}


def test_commands_at_the_same_time_use_no_token_twice(typed, core: Core, signed_in: SessionFile):
    def command(_: int) -> str:
        with client.connect() as api:
            return api.get(("me",), UserView).email

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(command, range(8))) == ["ada@example.com"] * 8
    assert not core.replayed
    assert signed_in.read() == core.good


def test_a_long_command_goes_on_with_the_token_that_another_one_has_left(typed, core: Core, signed_in):
    with client.connect() as api:
        api.get(("me",), UserView)
        assert typed("whoami")[0] == 0
        assert typed("whoami")[0] == 0
        api.http.auth._until = 0.0  # five minutes later
        api.get(("me",), UserView)
        assert not core.replayed

        typed("logout")
        api.http.auth._until = 0.0
        with pytest.raises(CommandError, match="you are signed out"):
            api.get(("me",), UserView)


def test_a_session_that_has_ended_is_told_and_nobody_acts_as_the_client_instead(
    typed, core: Core, signed_in: SessionFile
):
    core.good = None
    for line in ("whoami", "token", "users", "runs --json"):
        code, out, err = typed(line)
        assert (code, out) == (1, "")
        assert err.startswith("astrocore: you are signed out\n  hint: `astrocore login` signs you in again")
    signed_in.path.write_text("")
    assert "cannot be read" in typed("whoami")[2]


def test_a_system_that_goes_away_while_it_is_asked_for_a_token_costs_nothing(
    typed, core: Core, signed_in: SessionFile
):
    def away(request: httpx.Request) -> httpx.Response | None:
        if request.url.path.endswith("refresh"):
            raise httpx.ConnectError("refused")
        return None

    core.refuse = away
    for line in ("whoami", "token"):
        assert "no running system was found" in typed(line)[2]
    busy = httpx.Response(503, json={"detail": "a store does not answer"})
    core.refuse = lambda request: busy if request.url.path.endswith("refresh") else None
    for line in ("whoami", "token"):
        code, _, err = typed(line)
        assert (code, err.splitlines()[0]) == (1, "astrocore: a store does not answer")
    core.refuse = lambda _: None
    assert typed("whoami")[0] == 0
    assert not core.replayed


def test_where_nobody_answers_signing_out_forgets_the_token_and_says_what_is_left(
    typed, core: Core, signed_in: SessionFile
):
    def away(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    core.refuse = away
    code, out, err = typed("logout")
    assert (code, out) == (1, "")
    assert err.startswith(
        "astrocore: signed out here, but the session has not ended there: no running system"
    )
    assert "within an hour" in err
    assert signed_in.read() is None

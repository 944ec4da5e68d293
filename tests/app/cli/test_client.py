from urllib.parse import parse_qs

import httpx
import pytest

from app.accounts.calling import ClientCredentials
from app.cli import client
from app.cli.errors import CommandError, UnreachableError

URL = "http://127.0.0.1:8080"


def refuse(status: int, body: bytes | None = None, **problem: object) -> CommandError:
    content = {} if body is None else {"content": body}
    return client.refusal(httpx.Response(status, **({"json": problem} if body is None else content)), URL)


def test_a_refusal_lists_every_fault():
    error = refuse(422, detail="bad", errors=[{"where": "a", "message": "x"}, {"where": "b", "message": "y"}])

    assert error.what == "bad\n  a: x\n  b: y"


def test_a_conflict_says_what_stands_in_the_way():
    error = refuse(409, detail="one is active", instance="/v1/reconciliation/runs/7")

    assert error.hint == f"`astrocore runs show 7`, or {URL}/v1/reconciliation/runs/7"


def test_a_wrong_key_says_where_the_right_one_belongs():
    assert "ASTROCORE_CLIENT_SECRET" in (refuse(401, detail="no").hint or "")


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b"\xff"])
def test_an_answer_of_something_else_is_recognised(body: bytes):
    assert "not as AstroBookings Core does" in refuse(502, body).what


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (httpx.ConnectError("refused"), f"no running system was found at {URL}"),
        (httpx.ReadTimeout("slow"), f"the system at {URL} did not answer within 30 s"),
        (httpx.RemoteProtocolError("cut"), f"the connection to {URL} broke: cut"),
    ],
)
def test_a_system_that_does_not_answer_is_unreachable(
    typed, system, monkeypatch, error: Exception, what: str
):
    def fail(_request: httpx.Request) -> httpx.Response:
        raise error

    monkeypatch.setattr(system, "handle", fail)

    code, out, err = typed("runs --json")

    assert (code, out) == (1, "")
    assert err.startswith(f"astrocore: {what}\n  hint: ")


def test_where_no_system_runs_up_is_suggested(typed, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ASTROCORE_WEB_PORT", "1")

    code, _, err = typed("runs")

    assert code == 1
    assert "http://127.0.0.1:1" in err
    assert "`astrocore up`" in err


def test_a_store_that_is_away_is_worth_another_try():
    assert isinstance(refuse(503, detail="a store does not answer"), UnreachableError)
    assert not isinstance(refuse(500, detail="oops"), UnreachableError)


TOKEN_REFUSED = {"WWW-Authenticate": 'Bearer realm="astrobookings-core", error="invalid_token"'}


def test_a_token_is_fetched_and_sent_and_parts_of_a_path_are_quoted(system, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ASTROCORE_CLIENT_ID", "jobs")
    monkeypatch.setenv("ASTROCORE_CLIENT_SECRET", "acs_secret")
    seen: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        granted = {"access_token": f"token-{len(seen)}", "expires_in": 300}
        if request.url.path == "/oauth/token":
            return httpx.Response(200, json=granted)
        # By the second call the token has been revoked.
        return httpx.Response(401, headers=TOKEN_REFUSED) if len(seen) == 3 else httpx.Response(200, json=[])

    monkeypatch.setattr(system, "handle", handle)

    with client.connect() as api:
        api.get(("records", "a/b?c", "ü"), list, limit=None, cursor="x y")
        api.get(("records",), list)

    token, first, second, again, last = seen
    assert parse_qs(token.content.decode())["client_secret"] == ["acs_secret"]
    assert first.url.raw_path == b"/v1/reconciliation/records/a%2Fb%3Fc/%C3%BC?cursor=x+y"
    assert first.headers["Authorization"] == "Bearer token-1"
    assert (again.url.path, last) == ("/oauth/token", second)
    assert last.headers["Authorization"] == "Bearer token-4"


@pytest.mark.parametrize("name", ["''", ".", "..", "a/b"])
@pytest.mark.parametrize("of", ["schedules", "templates", "clients"])
def test_a_name_that_leads_elsewhere_is_refused(typed, system, of: str, name: str):
    code, _, err = typed(f"{of} show {name}")

    assert (code, system.asked) == (1, [])
    assert "names nothing\n  hint: " in err


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("schedules enable \udcff --reason x", r"'\udcff'"),
        ("schedules enable mine --reason caf\udce9", "reason"),
        ("schedules remove mine --yes --reason caf\udce9", r"'caf\udce9'"),
        ("notifications list --template \udcff", r"'\udcff'"),
        ("notify a --to b@example.com --data x.\udcff=1", "data"),
        ("login \udcff", "email"),
        ("logs --text \udcff", r"'\udcff'"),
    ],
)
def test_what_is_no_utf8_is_told_and_not_sent(typed, system, monkeypatch, line: str, what: str):
    monkeypatch.setenv("ASTROCORE_CLIENT_ID", "shell")
    monkeypatch.setenv("ASTROCORE_CLIENT_SECRET", "acs_x")
    monkeypatch.setattr("app.cli.login.typer.prompt", lambda *_, **__: "secret\udcff")

    code, _, err = typed(line)

    assert (code, system.asked) == (1, [])
    assert err.startswith(f"astrocore: {what} cannot be sent: it is no UTF-8\n  hint: ")
    assert "secret" not in err


def test_what_is_too_long_for_an_address_is_told(typed, system):
    for line in ("schedules show", "notifications list --template"):
        code, _, err = typed(f"{line} {'x' * 70_000}")
        assert (code, system.asked) == (1, [])
        assert err.startswith("astrocore: what was typed cannot be sent: ")
        assert "hint: " in err


def test_an_empty_filter_is_not_taken_for_none(typed, system):
    for line in (
        "schedules due --schedule ''",
        "users --email ''",
        "diffs reject --entity '' --reason x --yes",
    ):
        code, _, err = typed(line)
        assert (code, system.asked) == (1, [])
        assert "is empty\n  hint: " in err


def test_what_is_refused_for_another_reason_than_the_token_is_not_tried_again():
    seen: list[str] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.path)
        granted = {"access_token": "token", "expires_in": 300}
        if request.url.path == "/v1/auth/login":
            return httpx.Response(401, json={"detail": "the address or the password is wrong"})
        return httpx.Response(200, json=granted)

    with httpx.Client(transport=httpx.MockTransport(handle), auth=ClientCredentials("jobs", "acs_x")) as http:
        http.get("http://core/v1/logs")
        assert http.post("http://core/v1/auth/login").status_code == 401
    assert seen == ["/oauth/token", "/v1/logs", "/v1/auth/login"]


def test_a_client_that_is_not_known_is_told_so(typed, system, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ASTROCORE_CLIENT_ID", "jobs")
    monkeypatch.setenv("ASTROCORE_CLIENT_SECRET", "acs_wrong")
    monkeypatch.setattr(system, "handle", lambda _: httpx.Response(401, json={"error": "invalid_client"}))
    code, _, err = typed("runs")
    assert code == 1
    assert "the client jobs is not known there" in err
    assert "acs_wrong" not in err


def test_an_answer_of_another_version_is_told_as_such(typed, system):
    system.answer("GET", "runs", {"items": [{"id": "1"}]})

    code, _, err = typed("runs")

    assert code == 1
    assert "another version" in err

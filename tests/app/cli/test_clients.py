"""Service clients at the command line: what is asked of the system, and what is told."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from app.accounts.views import NewCredential
from app.cli import client
from tests.app.cli.factories import START, make_client, make_credential

SECRET = "acs_told_once"
JOBS = "v1/clients/jobs"
CREDENTIAL = make_credential()
KEY = {"kty": "OKP", "crv": "Ed25519", "x": "abc"}


@pytest.fixture(autouse=True)
def clients(monkeypatch: pytest.MonkeyPatch, system) -> None:
    """A system with one client; its paths are named from the root on."""
    monkeypatch.setattr(client, "BASE", "")
    system.answer("GET", "v1/clients", [make_client()])
    system.answer("GET", JOBS, make_client())
    system.answer("POST", "v1/clients", make_client())
    system.answer("POST", f"{JOBS}/credentials", NewCredential(CREDENTIAL, SECRET))


def asked(system, method: str = "POST") -> list[tuple[str, Any]]:
    return [(path.lstrip("/"), body) for each, path, body in system.asked if each == method]


def test_clients_are_listed_and_shown_without_anything_secret(typed, system):
    revoked = make_credential(kind="key", revoked_at=START)
    system.answer("GET", JOBS, make_client(credentials=[make_credential(), revoked]))
    code, out, _ = typed("clients")
    assert (code, "jobs" in out, "users:read" in out) == (0, True, True)
    assert [each["name"] for each in json.loads(typed("clients --json")[1])] == ["jobs"]
    code, out, _ = typed("clients show jobs")
    assert (code, "good" in out, "revoked" in out) == (0, True, True)
    assert len(json.loads(typed("clients show jobs --json")[1])["credentials"]) == 2


def test_a_client_is_added_with_a_secret_that_is_told_once(typed, system):
    code, out, err = typed("clients create jobs --scope users:read --expires 2090-01-01T00:00:00Z")
    assert (code, SECRET in out, "told this once" in err) == (0, True, True)
    assert asked(system) == [
        ("v1/clients", {"name": "jobs", "scopes": ["users:read"]}),
        (f"{JOBS}/credentials", {"expires_at": "2090-01-01T00:00:00Z"}),
    ]
    code, out, err = typed("clients create jobs --json")
    told = json.loads(out)
    assert (code, err, told["client"], told["secret"]) == (0, "", "jobs", SECRET)


def test_a_key_is_taken_from_a_file(typed, system, tmp_path: Path):
    system.answer("POST", f"{JOBS}/credentials", NewCredential(CREDENTIAL, None))
    (tmp_path / "key.jwk").write_text(json.dumps(KEY))
    code, out, err = typed("clients add-credential jobs --public-key key.jwk")
    assert (code, err, "secret" in out) == (0, "", False)
    assert asked(system) == [(f"{JOBS}/credentials", {"public_key": KEY})]


@pytest.mark.parametrize("content", [None, b"", b"[]", b"\xff", b"-----BEGIN PUBLIC KEY-----"])
def test_a_file_that_holds_no_key_adds_nobody(typed, system, tmp_path: Path, content: bytes | None):
    if content is not None:
        (tmp_path / "key.jwk").write_bytes(content)
    for command in ("create", "add-credential"):
        code, out, err = typed(f"clients {command} jobs --public-key key.jwk")
        assert (code, out) == (1, "")
        assert err.startswith("astrocore: key.jwk holds no JWK")
        assert err.splitlines()[-1].startswith("  hint: ")
    assert system.asked == []


def test_a_client_whose_credential_is_refused_is_said_to_be_there(typed, system):
    problem = {"detail": "no", "errors": [{"where": "expires_at", "message": "is over"}]}
    system.answer("POST", f"{JOBS}/credentials", problem, status=422)
    code, out, err = typed("clients create jobs --expires 2020-01-01T00:00:00Z")
    assert (code, out) == (1, "")
    assert err.startswith("astrocore: jobs was added, but has no credential: no\n  expires_at: is over\n")
    assert "`astrocore clients add-credential jobs`" in err


def test_all_scopes_are_said_and_none_is_said_too(typed, system):
    system.answer("PATCH", JOBS, make_client())
    for options in ("", "--scope users:read --no-scopes", "--scope everything"):
        assert typed(f"clients scopes jobs --reason x {options}")[0] == 2
    assert system.asked == []
    assert typed("clients scopes jobs --reason less --scope users:read --scope logs:read")[0] == 0
    assert typed("clients scopes jobs --reason left --no-scopes --json")[0] == 0
    assert asked(system, "PATCH") == [
        (JOBS, {"scopes": ["users:read", "logs:read"], "reason": "less"}),
        (JOBS, {"scopes": [], "reason": "left"}),
    ]


def test_a_credential_is_revoked_for_a_reason(typed, system):
    path = f"{JOBS}/credentials/{CREDENTIAL.id}"
    system.answer("DELETE", path, make_client())
    assert typed(f"clients revoke-credential jobs {CREDENTIAL.id}")[0] == 2
    code, out, _ = typed(f"clients revoke-credential jobs {CREDENTIAL.id} --reason rotated --json")
    assert (code, json.loads(out)["name"]) == (0, "jobs")
    assert asked(system, "DELETE") == [(path, None)]


def test_a_client_is_kept_out_only_by_who_means_it(typed, system, monkeypatch: pytest.MonkeyPatch):
    for verb in ("disable", "enable"):
        system.answer("POST", f"{JOBS}/{verb}", make_client())
        assert typed(f"clients {verb} jobs")[0] == 2
    monkeypatch.setattr("sys.stdin", io.StringIO())
    code, out, err = typed("clients disable jobs --reason leaked")
    assert (code, out.strip(), "--yes" in err) == (1, "", True)
    assert system.asked == []
    assert typed("clients disable jobs --reason leaked --yes --json")[0] == 0
    assert typed("clients enable jobs --reason found --json")[0] == 0
    assert asked(system) == [
        (f"{JOBS}/disable", {"reason": "leaked"}),
        (f"{JOBS}/enable", {"reason": "found"}),
    ]

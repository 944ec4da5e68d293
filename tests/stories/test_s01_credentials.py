"""S1: the system keeps users and their credentials safely, as those who look after them see it."""

import os
import secrets
import subprocess
import sys
import time
from uuid import uuid4

import httpx
import pyotp
import pytest
import requests

from app.stores.connections import Stores
from tests.stories.conftest import System, wait_for
from tests.stories.services import commands_of

PASSWORD = "a song about seven small ships"
SHORTER = "t7!kQz9w4x"


@pytest.fixture
def email() -> str:
    return f"ada-{uuid4().hex[:8]}@example.com"


def typed(system: System, *words: str, answers: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """A command whose questions are answered, one line each."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ASTROCORE_")}
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "app.cli.main", *words],
        env={**environment, "ASTROCORE_DATA_DIR": str(system.data_dir)},
        input="".join(f"{each}\n" for each in answers),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        start_new_session=True,  # no terminal: passwords are read from the input
    )


def made(system: System, email: str, **more: object) -> dict[str, object]:
    body = {"email": email, "password": PASSWORD, "given_name": "Ada", "family_name": "Lovelace"} | more
    answer = system.api.post("/v1/users", json=body)
    assert answer.status_code == 201, answer.text
    user: dict[str, object] = answer.json()
    return user


def login(system: System, email: str, password: str = PASSWORD, **more: object) -> requests.Response:
    with commands_of(system).granted() as service:
        return service.post(
            "/v1/auth/login", json=somewhere() | {"email": email, "password": password} | more
        )


def somewhere() -> dict[str, str]:
    """The machine of a user, which is another one each time."""
    return {"client_ip": f"2001:db8:{secrets.token_hex(2)}:{secrets.token_hex(2)}::1"}


def calling(system: System, token: str) -> httpx.Client:
    return httpx.Client(
        base_url=system.api.base_url, headers={"Authorization": f"Bearer {token}"}, timeout=20
    )


async def kept(databases: Stores) -> str:
    """Everything that lies in the core DB, as text."""
    tables = await databases.core.fetch(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'audit_seals'"
    )
    everything = ""
    for row in tables:
        everything += str(
            await databases.core.fetchval(f"SELECT string_agg(t::text, ' ') FROM \"{row[0]}\" t")
        )
    return everything


def test_users_are_added_shown_locked_and_deleted_on_the_command_line(system: System, email: str) -> None:
    created = typed(
        system, "users", "create", email, "--role", "supplier", "--password", answers=(PASSWORD, PASSWORD)
    )
    assert created.returncode == 0, created.stderr
    assert PASSWORD not in created.stdout + created.stderr
    (user,) = system.cli_json("users", "list", "--email", email.upper())["items"]
    assert (user["roles"], user["status"]) == (["supplier"], "active")

    assert login(system, email).status_code == 200
    system.cli("users", "lock", email, "--reason", "seen abroad")
    assert system.cli_json("users", "show", email)["sessions"] == []
    assert login(system, email).status_code == 401
    system.cli("users", "unlock", email, "--reason", "it was them")
    assert login(system, email).status_code == 200

    refused = system.cli("users", "delete", email, "--reason", "asked for it", expect=1)
    assert "--yes" in refused
    system.cli("users", "delete", email, "--reason", "asked for it", "--yes")
    assert system.api.get("/v1/users", params={"email": email}).json()["items"] == []


async def test_of_a_deleted_user_nothing_is_left_but_the_id(
    system: System, databases: Stores, email: str
) -> None:
    name = f"Byron{uuid4().hex[:8]}"
    user = made(system, email, family_name=name)
    login(system, email, client_ip="192.0.2.77", device=f"the tablet of {name}")
    for personal in (email, name, "192.0.2.77"):
        assert personal in await kept(databases)

    query = {"reason": "asked for it"}
    assert system.api.delete(f"/v1/users/{user['id']}", params=query).status_code == 204
    everything = await kept(databases)
    for personal in (email, name, "192.0.2.77"):
        assert personal not in everything
    assert system.api.get(f"/v1/users/{user['id']}").status_code == 404
    gone = system.api.get("/v1/users", params={"status": "deleted"}).json()["items"]
    assert [(each["email"], each["family_name"]) for each in gone if each["id"] == user["id"]] == [(None, "")]
    assert system.api.post("/v1/users", json={"email": email}).status_code == 201  # the address is free again


def test_what_attackers_try_first_is_refused_with_the_reason(system: System, email: str) -> None:
    for password, why in {
        "short": "15 is the least",
        "passwordpassword": "among the first that an attacker tries",
        f"{email}!": "little more than your name",
        "AstroBookings-2026": "little more than your name",
    }.items():
        answer = system.api.post("/v1/users", json={"email": email, "password": password})
        assert answer.status_code == 422
        assert any(why in each["message"] for each in answer.json()["errors"]), answer.text
        assert password not in answer.text
    assert system.cli_json("users", "list", "--email", email)["items"] == []


async def test_nothing_that_lets_somebody_in_is_kept_in_clear(
    system: System, databases: Stores, email: str
) -> None:
    made(system, email)
    tokens = login(system, email).json()
    everything = await kept(databases)
    assert email in everything
    secret = system.settings.client_secret
    assert secret is not None
    for hidden in (PASSWORD, tokens["refresh_token"], tokens["access_token"], secret.get_secret_value()):
        assert hidden not in everything
    stored = await databases.core.fetchval("SELECT password_hash FROM users WHERE email = $1", email)
    assert stored.startswith("first:$argon2id$v=19$m=65536,t=3,p=4$")


def test_every_change_is_in_the_audit_and_names_nobody(system: System, email: str) -> None:
    user = made(system, email)
    login(system, email)
    system.api.post(f"/v1/users/{user['id']}/disable", json={"reason": "has left"})
    # Facts are taken to the audit store once a minute, and by whoever looks at a record: so they need not be waited for.
    record = {"entity": "customers", "id": str(uuid4())}
    system.api.post("/v1/reconciliation/events", json={"events": [record]})

    def told() -> list[str]:
        query = {"entity": "users", "id": user["id"], "order": "oldest"}
        found = system.api.get("/v1/audit", params=query)
        assert email not in found.text
        assert "Lovelace" not in found.text
        return [each["name"] for each in found.json()["items"]]

    wanted = [
        "accounts:user:create",
        "accounts:password:set",
        "accounts:session:start",
        "accounts:user:disable",
    ]
    assert wait_for(told, lambda names: len(names) >= 4) == wanted


def test_a_second_factor_is_set_up_and_no_code_of_it_is_good_twice(system: System, email: str) -> None:
    made(system, email)
    with calling(system, login(system, email).json()["access_token"]) as me:
        proposed = me.post("/v1/me/second-factor").json()
        device = pyotp.parse_uri(proposed["uri"])
        assert isinstance(device, pyotp.TOTP)
        assert device.secret == proposed["secret"]
        moment = int(time.time())
        first, second = device.at(moment), device.at(moment + device.interval)
        recovery = me.post("/v1/me/second-factor/confirm", json={"code": first}).json()["recovery_codes"]
        assert len(set(recovery)) == 10
        changed = me.post("/v1/me/password", json={"old_password": PASSWORD, "new_password": SHORTER})
        assert changed.status_code == 204  # beside a second factor it may be shorter

    def entering(code: str | None) -> requests.Response:
        return login(system, email, SHORTER, code=code)

    needed = entering(None)
    assert (needed.status_code, needed.json()["type"].rpartition(":")[2]) == (401, "second-factor-needed")
    assert entering(first).status_code == 401  # it has confirmed the device
    for code in (second, recovery[0]):
        assert entering(code).status_code == 200
        assert entering(code).status_code == 401


def test_a_link_to_set_a_password_is_made_for_whoever_has_the_address_and_told_to_no_log(
    system: System, email: str
) -> None:
    user = system.api.post("/v1/users", json={"email": email}).json()  # which makes the first one
    assert user["status"] == "pending"
    for address in (email, f"nobody-{uuid4().hex[:8]}@example.com"):
        asked = system.api.post("/v1/auth/password-reset", json=somewhere() | {"email": address})
        assert (asked.status_code, asked.content) == (204, b"")

    def states() -> list[tuple[object, object]]:
        asked = system.api.get("/v1/notifications", params={"template": "reset-password", "limit": 3}).json()
        return [(each["recipient_id"], each["state"]) for each in asked["items"]]

    wait_for(states, lambda found: found == [(None, "suppressed")] + [(user["id"], "sent")] * 2)

    def settled() -> list[dict[str, object]]:
        found: list[dict[str, object]] = system.api.get("/v1/logs", params={"event": "mail.settled"}).json()[
            "items"
        ]
        return found

    wait_for(settled, lambda found: len(found) >= 2)
    assert system.api.get("/v1/logs", params={"text": "acl_"}).json()["items"] == []
    assert system.api.get("/v1/logs", params={"text": email}).json()["items"] == []
    guessed = {"token": f"acl_{uuid4().hex}", "password": PASSWORD}
    refused = system.api.post("/v1/auth/password-reset/confirm", json=guessed)
    assert (refused.status_code, [each["where"] for each in refused.json()["errors"]]) == (422, ["token"])


def test_the_first_admin_is_made_once_and_signs_in_on_the_command_line(system: System) -> None:
    words = ("users", "create", "root@example.com", "--bootstrap")
    first = typed(system, *words, answers=(PASSWORD, PASSWORD))
    assert first.returncode == 0, first.stderr
    again = typed(system, *words, answers=(PASSWORD, PASSWORD))
    assert again.returncode == 1
    assert "there is an admin already" in again.stderr

    wrong = typed(system, "login", "root@example.com", answers=("wrong",))
    assert (wrong.returncode, "the address or the password is wrong" in wrong.stderr) == (1, True)
    assert typed(system, "login", "root@example.com", answers=(PASSWORD,)).returncode == 0
    try:
        assert system.cli_json("whoami")["email"] == "root@example.com"
        assert (system.data_dir / "session").stat().st_mode & 0o777 == 0o600
        system.cli("clients", "list")
    finally:
        system.cli("logout")
    assert system.cli_json("whoami") == {"client": "astrocore"}

"""What the doctor says of mail: whether it can go, and whether it goes. It sends none."""

import socket
import ssl
from datetime import timedelta
from pathlib import Path

import pytest
import trustme

from app import doctor
from app.checks import Check
from app.notifications.delivering import health
from app.notifications.delivering.health import look_at_mail, look_at_service, look_at_settings
from app.stores.connections import Stores
from config.settings import Settings, parse_settings
from tests.app.notifications.delivering.transports.mail_servers import Server, knows, running
from tests.app.notifications.post import ask


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path) -> str:
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    return str(tmp_path / "authority.pem")


@pytest.fixture
def context(authority: trustme.CA) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(made)
    return made


async def service(settings: Settings, transport: str = "smtp") -> Check:
    (check,) = await look_at_service(settings, transport)
    return check


async def test_a_mail_server_is_greeted_as_if_there_were_a_mail(
    context: ssl.SSLContext, trusted: str
) -> None:
    ours = {"smtp_tls": "starttls", "smtp_ca_file": trusted, "smtp_user": "core", "smtp_password": "right"}
    options = {"tls_context": context, "auth_required": True, "authenticator": knows("right")}
    async with running(**options) as server:
        check = await service(server.settings(**ours))
        refused = await service(server.settings(**ours | {"smtp_password": "wrong-password"}))
    assert check.ok
    assert check.found == f"localhost:{server.port}, TLS starttls, signed in as core"
    assert server.said == ["QUIT"], "no mail was begun"
    assert (refused.ok, "535" in refused.found, "wrong-password" in refused.found) == (False, True, False)
    assert (
        refused.advice == "correct ASTROCORE_NOTIFICATION_SMTP_USER and ASTROCORE_NOTIFICATION_SMTP_PASSWORD"
    )


async def test_each_fault_of_a_mail_server_has_its_advice(context: ssl.SSLContext) -> None:
    async with running(tls_context=context) as server:
        check = await service(server.settings(smtp_tls="starttls"))
        assert not check.ok
        assert "NOTIFICATION_SMTP_CA_FILE" in (check.advice or "")
    async with running() as server:
        check = await service(server.settings(smtp_tls="starttls"))
        assert "NOTIFICATION_SMTP_TLS" in (check.advice or "")
    check = await service(server.settings())
    assert (check.ok, f"localhost:{server.port}: connection " in check.found) == (False, True)
    assert "start it" in (check.advice or "")


async def test_a_mail_server_that_says_nothing_is_not_waited_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health, "_PATIENCE_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        check = await service(Server(port=silent.getsockname()[1]).settings(smtp_host="127.0.0.1"))
    assert not check.ok


async def test_a_service_by_http_is_connected_to_and_posted_nothing(
    context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, trusted: str
) -> None:
    async with running(implicit=context) as server:  # of which only the handshake is needed
        settings = parse_settings(
            {"ASTROCORE_NOTIFICATION_HTTP_URL": f"https://localhost:{server.port}/send"}
        )
        check = await service(settings, "http")
        assert not check.ok
        assert "certificate" in (check.advice or "")
        monkeypatch.setenv("SSL_CERT_FILE", trusted)
        check = await service(settings, "http")
        assert (check.ok, check.found) == (
            True,
            f"localhost:{server.port} answers, TLS; nothing was posted",
        )
    assert "start it" in ((await service(settings, "http")).advice or "")


def test_settings_that_are_missing_are_named() -> None:
    (check,) = look_at_settings(parse_settings({"ASTROCORE_NOTIFICATION_TRANSPORT": "http"}))
    assert not check.ok
    assert "ASTROCORE_NOTIFICATION_CALLBACK_SECRETS" in check.found
    smtp = {"NOTIFICATION_FROM": "no-reply@astrobookings.example", "NOTIFICATION_SMTP_HOST": "mail.example"}
    (check,) = look_at_settings(parse_settings({f"ASTROCORE_{name}": value for name, value in smtp.items()}))
    assert check.ok


async def found(stores: Stores) -> dict[str, Check]:
    http = stores.settings.model_copy(update={"notification_http_url": "https://mail.example/send"})
    async with stores.core.acquire() as connection:
        return {each.name: each for each in await look_at_mail(connection, http)}


async def test_mail_that_nobody_sees_to_is_counted(booked: Stores) -> None:
    await ask(booked, "a@example.com", "b@example.com", "c@example.com", transport="http")
    checks = await found(booked)
    assert all(each.ok for each in checks.values())
    assert checks["mail waiting"].found == "3 wait, 0 of them overdue"
    await booked.core.execute("UPDATE notifications SET next_at = now() - $1::interval", timedelta(minutes=6))
    check = (await found(booked))["mail waiting"]
    assert (check.ok, check.found) == (False, "3 wait, 3 of them overdue")
    await booked.core.execute("UPDATE notifications SET transport = 'pigeon', next_at = now()")
    check = (await found(booked))["mail waiting"]
    assert (check.ok, check.found) == (
        False,
        "3 wait, 0 of them overdue, 3 for a transport that is not set up",
    )


async def test_mail_in_doubt_wants_a_decision_until_there_is_one(booked: Stores) -> None:
    first, second = await ask(booked, "a@example.com", "b@example.com", transport="http")
    await booked.core.execute("UPDATE notifications SET state = 'unknown' WHERE id = $1", first)
    check = (await found(booked))["mail in doubt"]
    assert (check.ok, check.found) == (False, "1 may have gone, or not")
    await booked.core.execute("UPDATE notifications SET retry_of = $1 WHERE id = $2", first, second)
    assert (await found(booked))["mail in doubt"].ok


async def test_a_circuit_that_is_open_is_told_with_its_reason(booked: Stores) -> None:
    await booked.core.execute(
        "INSERT INTO transport_circuits (name, state, because, trial_at) VALUES ('http', 'open', '503 busy', now())"
    )
    check = (await found(booked))["mail circuit http"]
    assert not check.ok
    assert check.found.endswith("UTC: 503 busy")


async def test_the_doctor_looks_at_mail(settings_of_test: Settings) -> None:
    async with running() as server:
        mail = server.settings().model_dump(
            include={f"notification_smtp_{each}" for each in ("host", "port", "tls")}
        )
        checks = {each.name: each for each in await doctor.doctor(settings_of_test.model_copy(update=mail))}
    assert checks["mail server"].ok
    assert checks["mail circuit smtp"].ok
    assert checks["mail settings"].ok
    assert checks["audit verification"].found.startswith("not yet")

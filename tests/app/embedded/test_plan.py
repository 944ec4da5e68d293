import socket

import pytest

from app.audit.sealing.keys import public_key_of
from app.embedded.errors import EmbeddedError
from app.embedded.plan import given_values, make_plan
from app.embedded.ports import free_port
from config.settings import STORE_URLS, SettingsError, parse_settings

URLS = {f"ASTROCORE_{name.upper()}" for name in STORE_URLS}


def test_first_start_gets_every_url_a_key_and_distinct_ports():
    plan = make_plan({}, {}, web_port=None)
    assert set(plan.values) >= URLS
    assert set(plan.ports) == {"postgresql", "secantus", "broker", "audit", "logs", "mailbox"}
    assert len({*plan.ports.values(), int(plan.values["ASTROCORE_WEB_PORT"])}) == 7
    assert len(plan.values["ASTROCORE_CLIENT_SECRET"]) >= 43
    assert set(plan.audit_passwords) == {"core", "retention"}
    assert all(len(password) >= 32 for password in plan.audit_passwords.values())
    assert parse_settings(plan.values).environment == "embedded"


def test_next_start_keeps_ports_and_key():
    first = make_plan({}, {}, web_port=None)
    assert make_plan({}, first.values, web_port=8080).values == first.values


def test_remembered_port_that_was_lost_is_replaced():
    first = make_plan({}, {}, web_port=None)
    with socket.create_server(("127.0.0.1", first.ports["audit"])):
        second = make_plan({}, first.values, web_port=None)
    assert second.ports["audit"] != first.ports["audit"]
    assert second.ports["broker"] == first.ports["broker"]
    assert second.audit_passwords == first.audit_passwords


def test_given_url_wins_and_its_server_is_not_started():
    given = {"ASTROCORE_AUDIT_URL": "redis://redis.example:6379/1"}
    plan = make_plan(given, {}, web_port=None)
    assert plan.values["ASTROCORE_AUDIT_URL"] == given["ASTROCORE_AUDIT_URL"]
    assert "audit" not in plan.ports
    assert "ASTROCORE_AUDIT_RETENTION_URL" not in plan.values
    assert plan.owns_foreign_databases


def test_url_of_the_retention_user_without_the_store_it_belongs_to_is_refused():
    with pytest.raises(EmbeddedError, match="ASTROCORE_AUDIT_URL"):
        make_plan({"ASTROCORE_AUDIT_RETENTION_URL": "redis://redis.example/1"}, {}, web_port=None)


def test_postgresql_is_started_for_one_of_its_databases_alone():
    plan = make_plan({"ASTROCORE_ADMIN_DATABASE_URL": "postgresql://db.example/admin"}, {}, web_port=None)
    assert "postgresql" in plan.ports
    assert not plan.owns_foreign_databases


def test_url_of_a_foreign_server_that_an_earlier_run_used_is_forgotten():
    remembered = {"ASTROCORE_BROKER_URL": "redis://redis.example:6379/1"}
    assert "redis.example" not in make_plan({}, remembered, web_port=None).values["ASTROCORE_BROKER_URL"]


def test_the_secret_of_the_commands_client_is_drawn_once():
    key = "ASTROCORE_CLIENT_SECRET"
    first = make_plan({}, {}, web_port=None)
    assert first.own_client
    assert make_plan({}, first.values, web_port=None).values[key] == first.values[key]


def test_a_given_client_is_the_one_that_the_commands_use():
    given = {"ASTROCORE_CLIENT_ID": "mine", "ASTROCORE_CLIENT_SECRET": "acs_mine"}
    plan = make_plan(given, {"ASTROCORE_CLIENT_SECRET": "acs_old"}, web_port=None)
    assert not plan.own_client
    assert {name: plan.values[name] for name in given} == given


def test_what_secrets_are_kept_with_is_drawn_once():
    first = make_plan({}, {}, web_port=None)
    again = make_plan({}, first.values, web_port=None)
    for name in ("ASTROCORE_PASSWORD_PEPPERS", "ASTROCORE_ENCRYPTION_KEYS"):
        assert first.values[name] == again.values[name]
        assert name not in first.told()


def test_given_web_port_in_use_is_refused():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        given = {"ASTROCORE_WEB_PORT": str(listener.getsockname()[1])}
        with pytest.raises(EmbeddedError, match="ASTROCORE_WEB_PORT"):
            make_plan(given, {}, web_port=None)


def test_preferred_web_port_is_taken_when_free():
    port = free_port()
    assert make_plan({}, {}, web_port=port).values["ASTROCORE_WEB_PORT"] == str(port)


def test_values_of_an_earlier_run_do_not_count_as_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "env").write_text("ASTROCORE_AUDIT_URL='redis://old/0'\n")
    (tmp_path / ".env").write_text("ASTROCORE_LOGS_URL=redis://mine/0\n")
    assert given_values({"ASTROCORE_DATA_DIR": str(tmp_path), "ASTROCORE_BROKER_URL": ""}) == {
        "ASTROCORE_LOGS_URL": "redis://mine/0",
    }


def test_a_key_that_seals_the_audit_store_is_made_once_with_its_public_key():
    first = make_plan({}, {}, web_port=None).values
    assert parse_settings(first).audit_signing_key is not None
    assert parse_settings(first).public_keys == (public_key_of(first["ASTROCORE_AUDIT_SIGNING_KEY"]),)
    second = make_plan({}, first, web_port=None).values
    names = ("ASTROCORE_AUDIT_SIGNING_KEY", "ASTROCORE_AUDIT_PUBLIC_KEYS")
    assert [second[name] for name in names] == [first[name] for name in names]


def test_a_given_signing_key_leaves_the_earlier_public_keys_trusted():
    first = make_plan({}, {}, web_port=None).values
    given = {"ASTROCORE_AUDIT_SIGNING_KEY": "A" * 43 + "="}
    keys = parse_settings(make_plan(given, first, web_port=None).values).public_keys
    assert keys == (first["ASTROCORE_AUDIT_PUBLIC_KEYS"], public_key_of("A" * 43 + "="))
    with pytest.raises(SettingsError, match="ASTROCORE_AUDIT_SIGNING_KEY"):
        make_plan({"ASTROCORE_AUDIT_SIGNING_KEY": "short"}, {}, web_port=None)


def test_what_only_the_worker_needs_no_other_process_gets_but_production_asks_for_it_everywhere() -> None:
    names = {"ASTROCORE_AUDIT_SIGNING_KEY", "ASTROCORE_AUDIT_RETENTION_URL"}
    plan = make_plan({}, {}, web_port=None)
    assert plan.values_of("worker") == plan.values
    assert {name for name, value in plan.values_of("web").items() if value != plan.values[name]} == names
    assert parse_settings(plan.values_of("web")).audit_signing_key is None
    strict = make_plan({"ASTROCORE_ENVIRONMENT": "production"}, {}, web_port=None)
    assert parse_settings(strict.values_of("web")).audit_signing_key is not None


def test_what_is_told_of_a_plan_has_no_secret_of_the_stores() -> None:
    mail = {
        "ASTROCORE_NOTIFICATION_HTTP_TOKEN": "token-of-the-provider",
        "ASTROCORE_NOTIFICATION_CALLBACK_SECRETS": "callbacks-" * 4,
        "ASTROCORE_NOTIFICATION_SMTP_PASSWORD": "password-of-the-mail-server",
    }
    given = {
        "ASTROCORE_CORE_DATABASE_URL": "postgresql://core:planted@db.example/core",
        "ASTROCORE_NOTIFICATION_SMTP_HOST": "mail.example",
        **mail,
    }
    plan = make_plan(given, {}, web_port=None)
    told = " ".join(plan.told().values())
    passwords = [password for password in plan.audit_passwords.values() if password]
    hidden = ["planted", *mail.values(), plan.values["ASTROCORE_AUDIT_SIGNING_KEY"], *passwords]
    assert not any(each in told for each in hidden)
    assert "db.example" in told


def test_mail_stays_on_this_machine_unless_it_is_said_where_it_goes() -> None:
    first = make_plan({}, {}, web_port=None)
    chosen = parse_settings(first.values)
    assert (chosen.notification_smtp_host, chosen.notification_smtp_tls) == ("127.0.0.1", "none")
    assert chosen.notification_smtp_port == first.ports["mailbox"]
    assert chosen.notification_from
    assert make_plan({}, first.values, web_port=None).ports == first.ports
    elsewhere = (
        {"ASTROCORE_NOTIFICATION_SMTP_HOST": "mail.example"},
        {
            "ASTROCORE_NOTIFICATION_TRANSPORT": "http",
            "ASTROCORE_NOTIFICATION_HTTP_URL": "https://mail.example/",
        },
    )
    for given in elsewhere:
        plan = make_plan(given, first.values, web_port=None)
        assert "mailbox" not in plan.ports
        assert parse_settings(plan.values).notification_smtp_port == 587


def test_a_port_of_a_mail_server_elsewhere_is_not_taken_for_one_of_ours() -> None:
    remembered = {
        "ASTROCORE_NOTIFICATION_SMTP_HOST": "mail.example",
        "ASTROCORE_NOTIFICATION_SMTP_PORT": "587",
    }
    assert make_plan({}, remembered, web_port=None).ports["mailbox"] != 587


def test_a_setting_of_a_mail_server_that_is_not_named_is_refused() -> None:
    with pytest.raises(
        EmbeddedError, match="NOTIFICATION_SMTP_PORT goes with ASTROCORE_NOTIFICATION_SMTP_HOST"
    ):
        make_plan({"ASTROCORE_NOTIFICATION_SMTP_PORT": "25"}, {}, web_port=None)


def test_nobody_is_put_into_a_core_database_that_is_not_our_own() -> None:
    theirs = {"ASTROCORE_CORE_DATABASE_URL": "postgresql://db.example/core"}
    for given, makes in (({}, True), (theirs, False), ({"ASTROCORE_ENVIRONMENT": "production"}, False)):
        assert make_plan(given, {}, web_port=None).makes_operator is makes

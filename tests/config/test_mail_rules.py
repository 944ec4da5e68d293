"""The settings of mail: what production needs, and that no mail crosses a network in clear."""

from base64 import b64encode
from hashlib import sha256

import pytest

from config.hosts import is_loopback
from config.settings import SECRETS, STORE_URLS, Settings, SettingsError, parse_settings


def key_of(name: str) -> str:
    key = b64encode(sha256(name.encode()).digest()).decode()
    return key if name == "audit_signing_key" else f"one:{key}"


STRICT = {
    "ASTROCORE_ENVIRONMENT": "production",
    "ASTROCORE_ISSUER": "https://core.example",
    **{f"ASTROCORE_{name.upper()}": "redis://store.example/0" for name in STORE_URLS},
    **{f"ASTROCORE_{name.upper()}": key_of(name) for name in SECRETS},
}
SMTP = {"FROM": "Us <us@a.example>", "SMTP_HOST": "mail.example"}
HTTP = {
    "TRANSPORT": "http",
    "FROM": "us@a.example",
    "HTTP_URL": "https://mail.example/send",
    "HTTP_TOKEN": "a-token",
    "CALLBACK_SECRETS": "s" * 32,
}


def parsed(given: dict[str, str], *, environment: str = "production") -> Settings:
    mail = {f"ASTROCORE_NOTIFICATION_{name}": value for name, value in given.items()}
    return parse_settings(STRICT | {"ASTROCORE_ENVIRONMENT": environment} | mail)


@pytest.mark.parametrize("given", [SMTP, HTTP])
def test_production_needs_what_its_transport_needs_and_nothing_of_the_other(given: dict[str, str]):
    parsed(given).check_service()
    for missing in set(given) - {"TRANSPORT"}:
        lacking = parsed({name: value for name, value in given.items() if name != missing})
        with pytest.raises(SettingsError, match=f"needs ASTROCORE_NOTIFICATION_{missing}$"):
            lacking.check_service()


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (SMTP | {"SMTP_TLS": "none"}, "mail.example is another machine"),
        (SMTP | {"SMTP_TLS": "none", "SMTP_HOST": "10.0.0.1"}, "10.0.0.1 is another machine"),
        (HTTP | {"HTTP_URL": "http://mail.example/send"}, "is not https"),
        (HTTP | {"HTTP_URL": "ftp://mail.example/send"}, "is no URL"),
        (HTTP | {"HTTP_URL": "https://user:password@mail.example/"}, "is no URL"),
        (HTTP | {"HTTP_URL": "https://[mail.example/"}, "is no URL"),
        (HTTP | {"HTTP_URL": "mail.example"}, "is no URL"),
        (HTTP | {"CALLBACK_SECRETS": "short"}, "CALLBACK_SECRETS"),
        (HTTP | {"CALLBACK_SECRETS": ",".join(["s" * 32] * 3)}, "CALLBACK_SECRETS"),
        (SMTP | {"SMTP_USER": "core"}, "go together"),
        (SMTP | {"SMTP_PASSWORD": "secret"}, "go together"),
        (SMTP | {"FROM": "nobody"}, "NOTIFICATION_FROM"),
        (SMTP | {"FROM": "Us, Inc. <us@a.example>"}, "NOTIFICATION_FROM"),
        (SMTP | {"FROM": "Us <us@a.example>\nBcc: eve@b.example"}, "NOTIFICATION_FROM"),
        (SMTP | {"TIMEOUT_SECONDS": "61"}, "TIMEOUT_SECONDS"),
    ],
)
def test_what_cannot_work_or_would_be_read_on_the_way_is_refused(given: dict[str, str], fault: str):
    with pytest.raises(SettingsError, match=fault):
        parsed(given)


@pytest.mark.parametrize("given", [SMTP | {"SMTP_TLS": "none"}, HTTP | {"HTTP_URL": "http://mail.example/"}])
def test_an_embedded_system_may_do_without_encryption(given: dict[str, str]):
    parsed(given, environment="embedded")
    with pytest.raises(SettingsError, match="read on the way"):
        parsed(given, environment="development")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost", "LOCALHOST"])
def test_what_stays_on_this_machine_may_be_in_clear(host: str):
    assert is_loopback(host)
    parsed(SMTP | {"SMTP_HOST": host, "SMTP_TLS": "none"})


@pytest.mark.parametrize("host", ["localhost.example", "128.0.0.1", "0.0.0.0", "mailpit", ""])
def test_everything_else_is_another_machine(host: str):
    assert not is_loopback(host)


def test_two_secrets_may_be_good_at_a_time():
    parsed(HTTP | {"CALLBACK_SECRETS": f"{'o' * 32}, {'n' * 32}"})


@pytest.mark.parametrize(
    ("link", "fault"),
    [
        ("https://shop.example/{purpose}", "has no {token}"),
        ("http://shop.example/?t={token}", "is not https"),
        ("shop.example/?t={token}", "is no URL"),
    ],
)
def test_links_of_accounts_bring_their_secret_and_nobody_reads_it_on_the_way(link: str, fault: str):
    with pytest.raises(SettingsError, match=fault):
        parse_settings({"ASTROCORE_ENVIRONMENT": "development", "ASTROCORE_ACCOUNT_LINK_URL": link})
    good = {"ASTROCORE_ACCOUNT_LINK_URL": "https://shop.example/{purpose}#{token}"}
    assert parse_settings(good).account_link_url

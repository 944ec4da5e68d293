"""What settings must hold where a process of the service starts, and what in any case."""

from base64 import b64encode
from hashlib import sha256

import pytest

from config.settings import SECRETS, STORE_URLS, Settings, SettingsError, parse_settings


def key(seed: str) -> str:
    return b64encode(sha256(seed.encode()).digest()).decode()


STORES = {f"ASTROCORE_{name.upper()}": "x://y" for name in STORE_URLS}
PRODUCTION = STORES | {
    "ASTROCORE_AUDIT_SIGNING_KEY": key("audit"),
    "ASTROCORE_PASSWORD_PEPPERS": f"b:{key('pepper b')},a:{key('pepper a')}",
    "ASTROCORE_ENCRYPTION_KEYS": f"a:{key('encryption')}",
    "ASTROCORE_ISSUER": "https://core.example",
    "ASTROCORE_NOTIFICATION_FROM": "no-reply@core.example",
    "ASTROCORE_NOTIFICATION_SMTP_HOST": "mail.example",
}


def test_what_does_not_say_what_it_is_is_production() -> None:
    assert Settings().environment == "production"
    parse_settings(PRODUCTION).check_service()


@pytest.mark.parametrize("name", [*STORE_URLS, *SECRETS, "issuer"])
def test_production_does_not_start_without(name: str) -> None:
    variable = f"ASTROCORE_{name.upper()}"
    chosen = parse_settings({each: value for each, value in PRODUCTION.items() if each != variable})
    with pytest.raises(SettingsError, match=variable):
        chosen.check_service()


@pytest.mark.parametrize(
    ("issuer", "environment", "starts"),
    [
        ("https://core.example", "production", True),
        ("http://core.example", "production", False),
        ("http://core.example", "development", False),
        ("http://core.example", "embedded", True),
        ("http://localhost:8080", "production", True),
        ("http://127.0.0.1:8080", "production", True),
        ("http://[::1]:8080", "development", True),
        ("", "development", True),
        ("", "embedded", True),
    ],
)
def test_tokens_cross_no_network_in_clear(issuer: str, environment: str, starts: bool) -> None:
    chosen = parse_settings(PRODUCTION | {"ASTROCORE_ISSUER": issuer, "ASTROCORE_ENVIRONMENT": environment})
    if starts:
        chosen.check_service()
        return
    with pytest.raises(SettingsError, match="https"):
        chosen.check_service()


def test_an_address_of_every_network_is_no_issuer_either() -> None:
    chosen = parse_settings({"ASTROCORE_ENVIRONMENT": "development", "ASTROCORE_WEB_HOST": "0.0.0.0"})
    with pytest.raises(SettingsError, match="ASTROCORE_ISSUER"):
        chosen.check_service()


@pytest.mark.parametrize(
    "issuer",
    [
        "core.example", "ftp://core.example", "https://", "https://core.example/", "https://core.example/api",
        "https://core.example?x=1", "https://ada:x@core.example", "https://core.example:x", "https://core.example\n",
    ],
)  # fmt: skip
def test_an_issuer_is_a_host_and_nothing_else(issuer: str) -> None:
    with pytest.raises(SettingsError, match="ASTROCORE_ISSUER"):
        parse_settings({"ASTROCORE_ISSUER": issuer})


@pytest.mark.parametrize(
    "shared",
    [
        {"ASTROCORE_ENCRYPTION_KEYS": f"z:{key('pepper a')}"},
        {"ASTROCORE_AUDIT_SIGNING_KEY": key("encryption")},
        {"ASTROCORE_PASSWORD_PEPPERS": f"a:{key('audit')}"},
    ],
)
@pytest.mark.parametrize("environment", ["production", "embedded"])
def test_no_key_has_two_purposes(shared: dict[str, str], environment: str) -> None:
    with pytest.raises(SettingsError, match="the same key") as raised:
        parse_settings(PRODUCTION | shared | {"ASTROCORE_ENVIRONMENT": environment})
    assert not [value for value in shared.values() if value in str(raised.value)]


@pytest.mark.parametrize("name", ["PASSWORD_PEPPERS", "ENCRYPTION_KEYS"])
def test_production_takes_no_key_that_somebody_made_up(name: str) -> None:
    made_up = b64encode(b"development-development-developm").decode()
    chosen = parse_settings(PRODUCTION | {f"ASTROCORE_{name}": f"a:{made_up}"})
    with pytest.raises(SettingsError, match="not random"):
        chosen.check_service()
    chosen.model_copy(update={"environment": "embedded"}).check_service()

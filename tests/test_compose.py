"""docker-compose.yml sets what production needs, by names that there are, from an .env as its head asks for."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import config
from config.settings import PREFIX, Settings, parse_settings
from tests.app.audit.sealed import new_key

FILE = Path(config.__file__).parent.parent / "docker-compose.yml"
OURS = ("web", "worker", "scheduler", "migrate")
VARIABLE = re.compile(r"\$\{(\w+)(?::([?-])([^}]*))?\}")


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return yaml.safe_load(FILE.read_text())["services"]


@pytest.fixture(scope="module")
def dotenv() -> dict[str, str]:
    """What the head of the file asks for, with a value that fits the description."""
    names = re.findall(r"^# {3}(\w+)=", FILE.read_text(), re.MULTILINE)
    return {name: _value(name) for name in names}


def _value(name: str) -> str:
    if name.endswith(("PEPPERS", "ENCRYPTION_KEYS")):
        return f"a:{new_key()}"
    return {"ASTROCORE_ISSUER": "https://core.example", "ASTROCORE_AUDIT_SIGNING_KEY": new_key()}.get(
        name, "x7"
    )


def filled(text: str, dotenv: dict[str, str]) -> str:
    def value(found: re.Match[str]) -> str:
        name, kind, default = found.groups()
        assert name in dotenv or kind == "-", f"{name} is needed, and the head of the file does not say so"
        return dotenv.get(name, default)

    return VARIABLE.sub(value, text)


def settings_of(service: dict[str, Any], dotenv: dict[str, str]) -> Settings:
    environment = {name: filled(str(value), dotenv) for name, value in service["environment"].items()}
    assert all(name.startswith(PREFIX) for name in environment)
    return parse_settings(environment)


@pytest.mark.parametrize("name", OURS)
def test_a_process_of_ours_has_what_production_needs(
    name: str, services: dict[str, Any], dotenv: dict[str, str]
) -> None:
    settings = settings_of(services[name], dotenv)
    assert settings.environment == "production"
    settings.check_service()
    assert (settings.audit_retention_url is not None) == (name == "worker")


def test_the_head_asks_for_nothing_that_is_not_used(dotenv: dict[str, str]) -> None:
    assert {name for name, kind, _ in VARIABLE.findall(FILE.read_text()) if kind == "?"} == dotenv.keys()


def test_what_the_head_offers_can_be_set() -> None:
    text = FILE.read_text()
    (offered,) = re.findall(r"^# and, unless .+?: ((?:ASTROCORE_\w+[,.]\s(?:# )?)+)", text, re.MULTILINE)
    names = set(re.findall(r"ASTROCORE_\w+", offered))
    assert len(names) >= 6
    assert names <= {name for name, kind, _ in VARIABLE.findall(text) if kind == "-"}


def test_mail_goes_to_the_mail_server_of_the_file_by_tls_that_it_is_known_by(
    services: dict[str, Any], dotenv: dict[str, str]
) -> None:
    settings, mailpit = settings_of(services["worker"], dotenv), services["mailpit"]
    assert settings.notification_smtp_host == "mailpit"
    assert settings.notification_smtp_tls == "starttls"
    assert mailpit["environment"]["MP_SMTP_REQUIRE_STARTTLS"] == "true"
    assert str(settings.notification_smtp_ca_file) == mailpit["environment"]["MP_SMTP_TLS_CERT"]
    folder = services["mail-certificate"]["working_dir"]
    for name in (*OURS, "mailpit"):
        assert f"mail-certificate:{folder}:ro" in services[name]["volumes"]
    assert "subjectAltName=DNS:mailpit" in services["mail-certificate"]["command"][0]


def test_whoever_waits_for_a_service_waits_for_one_that_there_is(services: dict[str, Any]) -> None:
    for name, service in services.items():
        for other, about in service.get("depends_on", {}).items():
            if about["condition"] == "service_healthy":
                assert "healthcheck" in services[other], f"{name} waits for {other} for ever"
            else:
                assert services[other]["restart"] == "no", f"{other} never ends"


@pytest.mark.parametrize("name", OURS)
def test_nobody_but_the_mail_server_has_its_key(name: str, services: dict[str, Any]) -> None:
    of_the_key = services["mailpit"]["environment"]["MP_SMTP_TLS_KEY"].rpartition("/")[0]
    assert any(f":{of_the_key}" in volume for volume in services["mailpit"]["volumes"])
    assert not any(f":{of_the_key}" in volume for volume in services[name]["volumes"])

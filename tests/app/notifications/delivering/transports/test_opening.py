"""Which transports the settings describe."""

import ssl

import pytest

from app.notifications.delivering.transports.opening import chosen_transport, open_transports
from config.settings import Settings, SettingsError, parse_settings


def settings(**given: str) -> Settings:
    return parse_settings({f"ASTROCORE_NOTIFICATION_{name.upper()}": value for name, value in given.items()})


async def test_every_transport_that_leads_somewhere_is_opened_under_its_name():
    both = settings(smtp_host="127.0.0.1", http_url="http://127.0.0.1/")
    async with open_transports(both) as opened:
        assert {name: (each.name, each.dedupes) for name, each in opened.items()} == {
            "smtp": ("smtp", False),
            "http": ("http", True),
        }
    async with open_transports(settings()) as opened:
        assert opened == {}


@pytest.mark.parametrize("name", ["smtp", "http"])
def test_the_transport_for_new_mail_has_to_lead_somewhere(name: str):
    needed = {"smtp": "smtp_host", "http": "http_url"}[name]
    assert chosen_transport(settings(transport=name, **{needed: "http://127.0.0.1/"})) == name
    with pytest.raises(SettingsError, match=f"ASTROCORE_NOTIFICATION_{needed.upper()} is not set"):
        chosen_transport(settings(transport=name))


@pytest.mark.parametrize("content", [None, "no certificate"])
async def test_certificates_that_cannot_be_read_are_told_at_once(tmp_path, content: str | None):
    file = tmp_path / "authority.pem"
    if content:
        file.write_text(content)
    with pytest.raises(SettingsError, match="SMTP_CA_FILE: no certificates") as told:
        async with open_transports(settings(smtp_host="mail.example", smtp_ca_file=str(file))):
            pass
    assert isinstance(told.value.__cause__, (FileNotFoundError, ssl.SSLError))

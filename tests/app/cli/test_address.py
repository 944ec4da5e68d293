"""Where the commands send passwords and secrets to."""

import pytest

from app.cli.client import url_of
from app.cli.errors import CommandError
from config.settings import parse_settings


@pytest.mark.parametrize(
    ("values", "url"),
    [
        ({}, "http://127.0.0.1:8080"),
        ({"WEB_HOST": "0.0.0.0", "WEB_PORT": "81"}, "http://127.0.0.1:81"),
        ({"WEB_HOST": "::1"}, "http://[::1]:8080"),
        ({"ISSUER": "https://core.example", "WEB_HOST": "10.0.0.1"}, "https://core.example"),
        ({"ISSUER": "http://localhost:81"}, "http://localhost:81"),
        ({"WEB_HOST": "10.0.0.1", "ENVIRONMENT": "embedded"}, "http://10.0.0.1:8080"),
        ({"WEB_HOST": "10.0.0.1"}, None),
        ({"WEB_HOST": "10.0.0.1", "ENVIRONMENT": "development"}, None),
        ({"ISSUER": "http://core.example"}, None),
    ],
    ids=str,
)
def test_nothing_secret_crosses_a_network_in_clear(values: dict[str, str], url: str | None) -> None:
    chosen = parse_settings({f"ASTROCORE_{name}": value for name, value in values.items()})
    if url:
        assert url_of(chosen) == url
        return
    with pytest.raises(CommandError, match="in clear") as raised:
        url_of(chosen)
    assert "ASTROCORE_ISSUER" in (raised.value.hint or "")

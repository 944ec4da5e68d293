from pathlib import Path

from app.embedded.banner import banner, web_url
from app.embedded.plan import make_plan


def test_banner_shows_urls_key_and_commands_but_no_password():
    given = {"ASTROCORE_CORE_DATABASE_URL": "postgresql://core:hunter2@db.example/core"}
    values = make_plan(given, {}, web_port=None).values
    text = banner(Path("/somewhere/else"), values)
    assert f"{web_url(values)}/schema" in text
    assert values["ASTROCORE_CLIENT_SECRET"] not in text
    assert "ASTROCORE_DATA_DIR=/somewhere/else astrocore runs" in text
    assert "hunter2" not in text
    assert "core:***@db.example" in text


def test_web_that_listens_everywhere_is_shown_by_loopback():
    assert web_url({"ASTROCORE_WEB_HOST": "0.0.0.0", "ASTROCORE_WEB_PORT": "80"}) == "http://127.0.0.1:80"
    assert web_url({"ASTROCORE_WEB_HOST": "::1", "ASTROCORE_WEB_PORT": "80"}) == "http://[::1]:80"

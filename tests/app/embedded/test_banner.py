from pathlib import Path

from app.embedded.banner import banner, web_url
from app.embedded.operator import Operator
from app.embedded.plan import make_plan


def test_banner_shows_urls_key_and_commands_but_no_password():
    given = {"ASTROCORE_CORE_DATABASE_URL": "postgresql://core:hunter2@db.example/core"}
    values = make_plan(given, {}, web_port=None).values
    text = banner(Path("/somewhere/else"), values, None)
    assert "sign in" not in text
    assert f"{web_url(values)}/schema" in text
    assert values["ASTROCORE_CLIENT_SECRET"] not in text
    assert "ASTROCORE_DATA_DIR=/somewhere/else astrocore runs" in text
    assert "hunter2" not in text
    assert "core:***@db.example" in text


def test_banner_tells_how_to_sign_in_to_the_console_while_the_password_is_the_one_that_was_drawn():
    values = make_plan({}, {}, web_port=None).values
    text = banner(Path("/somewhere"), values, Operator("operator@example.test", "drawn-once"))
    assert f"{web_url(values)}/console\n" in text
    assert "operator@example.test\n" in text
    assert "drawn-once\n" in text
    changed = banner(Path("/somewhere"), values, Operator("operator@example.test", None))
    assert "the one that it was changed to" in changed


def test_web_that_listens_everywhere_is_shown_by_loopback():
    assert web_url({"ASTROCORE_WEB_HOST": "0.0.0.0", "ASTROCORE_WEB_PORT": "80"}) == "http://127.0.0.1:80"
    assert web_url({"ASTROCORE_WEB_HOST": "::1", "ASTROCORE_WEB_PORT": "80"}) == "http://[::1]:80"

import json
from pathlib import Path

import pytest

import app.doctor
from app.cli import system as commands
from app.doctor import Check
from config.settings import Settings, settings


@pytest.mark.parametrize(
    ("secret", "told"),
    [
        ("postgresql://user:pass@host:5432/core", "postgresql://***@host:5432/core"),
        ("postgresql://user:p@ss/w?rd@host/core", "postgresql://***@host/core"),
        ("redis://:pass@host:6379/0", "redis://***@host:6379/0"),
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("mongodb://u:p@a,b/customer?replicaSet=rs&tlsCertificateKeyFilePassword=x", "mongodb://***@a,b/customer?replicaSet=rs&tlsCertificateKeyFilePassword=***"),
        ("postgresql://host/core?password=x&sslmode=require", "postgresql://host/core?password=***&sslmode=require"),
        ("an-operator-key-of-some-length", "***"),
    ],
)  # fmt: skip
def test_of_a_secret_only_the_harmless_part_is_told(secret: str, told: str):
    assert commands.without_credentials(secret) == told


def test_every_setting_is_listed_with_value_source_and_meaning(typed, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ASTROCORE_WEB_PORT", "8099")
    monkeypatch.setenv("ASTROCORE_CLIENT_SECRET", "hunter2-hunter2-hunter2")
    Path(".env").write_text("ASTROCORE_BROKER_URL=redis://:hunter2@localhost:1/0\nASTROCORE_WEB_PORT=1\n")
    Path(".astrocore").mkdir()
    Path(".astrocore/env").write_text("ASTROCORE_POOL_SIZE=3\nASTROCORE_WEB_PORT=2\n")

    code, out, _ = typed("config --json")

    listed = {each["name"]: each for each in json.loads(out)}
    assert code == 0
    assert list(listed) == [f"ASTROCORE_{name.upper()}" for name in Settings.model_fields]
    assert all(each["description"] for each in listed.values())
    told = {name: (listed[f"ASTROCORE_{name}"]["value"], listed[f"ASTROCORE_{name}"]["source"]) for name in (
        "WEB_PORT", "CLIENT_SECRET", "BROKER_URL", "POOL_SIZE", "LOG_LEVEL", "AUDIT_URL",
    )}  # fmt: skip
    assert told == {
        "WEB_PORT": ("8099", "environment"),
        "CLIENT_SECRET": ("***", "environment"),
        "BROKER_URL": ("redis://***@localhost:1/0", ".env"),
        "POOL_SIZE": ("3", ".astrocore/env"),
        "LOG_LEVEL": ("INFO", "default"),
        "AUDIT_URL": (None, "default"),
    }
    settings.cache_clear()
    _, shown, _ = typed("config")
    assert "hunter2" not in out + shown
    assert "ASTROCORE_WEB_PORT = 8099  [environment]" in shown
    assert "ASTROCORE_AUDIT_URL = not set  [default]" in shown


@pytest.mark.parametrize("ok", [True, False])
def test_the_doctor_exits_1_when_anything_is_wrong(typed, monkeypatch: pytest.MonkeyPatch, ok: bool):
    checks = [
        Check("core", ok=True, found="18.4"),
        Check("audit", ok=ok, found="x", advice=None if ok else "mend it"),
    ]

    async def examine(_settings: Settings) -> list[Check]:
        return checks

    monkeypatch.setattr(app.doctor, "doctor", examine)

    for line in ("doctor", "doctor --json"):
        code, out, _ = typed(line)
        assert code == (0 if ok else 1)
        assert ("mend it" in out) is not ok


def test_a_core_database_that_is_away_is_told_without_a_traceback(typed, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ASTROCORE_CORE_DATABASE_URL", "postgresql://postgres@127.0.0.1:1/core")

    code, out, err = typed("migrate")

    assert (code, out) == (1, "")
    assert "ASTROCORE_CORE_DATABASE_URL" in err


def test_without_a_core_database_the_setting_is_named(typed):
    code, _, err = typed("migrate")

    assert code == 1
    assert "ASTROCORE_CORE_DATABASE_URL is not set" in err


def test_a_schema_that_is_up_to_date_stays_as_it_is(
    typed, settings_of_test: Settings, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(commands, "settings", lambda: settings_of_test)

    told = json.loads(typed("migrate --json")[1])
    assert told["applied"] == []
    assert {"template": "verify-email", "version": 1, "outcome": "used"} in told["templates"]
    assert typed("migrate")[1] == "nothing to apply: the schema is up to date\n"

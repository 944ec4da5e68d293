"""The real servers, started and stopped as tests, benchmarks and operators do it."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import asyncpg
import pytest
import redis
from dotenv import dotenv_values
from pymongo import MongoClient

from app.embedded.errors import EmbeddedError
from app.embedded.launch import EmbeddedStores, embedded_stores
from app.embedded.plan import WEB_PORT_DEFAULT
from app.embedded.records import MARK_VARIABLE, marked_processes

WEB = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(os.environ["ASTROCORE_WEB_PORT"])), Handler).serve_forever()
"""


async def _databases(url):
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval("SELECT current_database()")
    finally:
        await connection.close()


def test_stores_answer_at_the_urls_of_the_environment_and_keep_their_data(folder):
    # Given stores that hold a document and a key
    with embedded_stores(folder) as environment:
        assert asyncio.run(_databases(environment["ASTROCORE_CORE_DATABASE_URL"])) == "core"
        assert asyncio.run(_databases(environment["ASTROCORE_ADMIN_DATABASE_URL"])) == "admin"
        with MongoClient(environment["ASTROCORE_CUSTOMER_DATABASE_URL"]) as client:
            client.get_default_database().things.insert_one({"_id": 1})
        with redis.Redis.from_url(environment["ASTROCORE_AUDIT_RETENTION_URL"]) as audit:
            assert audit.config_get("appendfsync") == {"appendfsync": "always"}
            assert audit.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            audit.set("x:audit:key", "value")
        with redis.Redis.from_url(environment["ASTROCORE_LOGS_URL"]) as logs:
            assert logs.config_get("appendfsync") == {"appendfsync": "everysec"}
    # When they are started again
    with embedded_stores(folder) as again:
        # Then URLs and data are the same
        assert again == environment
        with MongoClient(again["ASTROCORE_CUSTOMER_DATABASE_URL"]) as client:
            assert client.get_default_database().things.count_documents({}) == 1
        with redis.Redis.from_url(again["ASTROCORE_AUDIT_URL"], decode_responses=True) as audit:
            assert audit.get("x:audit:key") == "value"


@pytest.mark.slow
def test_two_data_directories_run_side_by_side(folder):
    with embedded_stores(folder / "one") as one, embedded_stores(folder / "two") as two:
        urls = [name for name in one if name.endswith("_URL")]
        assert all(one[name] != two[name] for name in urls)
        assert asyncio.run(_databases(two["ASTROCORE_CORE_DATABASE_URL"])) == "core"


@pytest.mark.slow
def test_second_start_on_one_directory_is_refused_and_harms_nothing():
    # Given stores in a temporary directory
    stores = EmbeddedStores()
    stores.start()
    directory = stores.data_dir
    try:
        # When others want to have it, they are refused
        with pytest.raises(EmbeddedError, match=f"in use by process {stores.pid}"):
            EmbeddedStores(directory).start()
        # And on the command line with one plain line
        answer = _typed_stores(directory)
        assert answer.returncode == 1
        assert answer.stderr.startswith("error: ")
        assert f"is in use by process {stores.pid}" in answer.stderr
        assert asyncio.run(_databases(stores.environment["ASTROCORE_CORE_DATABASE_URL"])) == "core"
    finally:
        stores.stop()
    # And in the end the directory is removed
    assert not directory.exists()


@pytest.mark.slow
def test_store_with_a_url_in_the_environment_is_used_instead_of_its_twin(folder, monkeypatch):
    with embedded_stores(folder / "one") as one:
        monkeypatch.setenv("ASTROCORE_CORE_DATABASE_URL", one["ASTROCORE_CORE_DATABASE_URL"])
        monkeypatch.setenv("ASTROCORE_ADMIN_DATABASE_URL", one["ASTROCORE_ADMIN_DATABASE_URL"])
        with embedded_stores(folder / "two") as two:
            assert two["ASTROCORE_CORE_DATABASE_URL"] == one["ASTROCORE_CORE_DATABASE_URL"]
        assert not (folder / "two" / "postgresql").exists()


@pytest.mark.slow
def test_whole_system_runs_a_procfile_leaves_its_env_file_and_no_process(folder, monkeypatch):
    # Given a Procfile of two processes
    (folder / "web.py").write_text(WEB)
    (folder / "Procfile").write_text(
        f"worker: env > {folder}/worker.env; exec sleep 600\n"
        f"web: env > {folder}/web.env; exec python {folder}/web.py\n"
    )
    printed = []
    first_line = EmbeddedStores._first_line
    monkeypatch.setattr(
        EmbeddedStores,
        "_first_line",
        staticmethod(lambda process: printed.append(first_line(process)) or printed[0]),
    )
    system = EmbeddedStores(folder / "data", what="up", procfile=folder / "Procfile")
    # When it is started
    system.start()
    # Then the database is migrated, the env file is there, and every process carries the mark of the run
    values = dotenv_values(folder / "data" / "env", interpolate=False)
    assert values == {
        name: value for name, value in system.environment.items() if name != "ASTROCORE_DATA_DIR"
    }
    # And what only the worker needs is given to nobody else, and not printed either; nor is a password
    secret = {name: values[name] for name in ("ASTROCORE_AUDIT_SIGNING_KEY", "ASTROCORE_AUDIT_RETENTION_URL")}
    given = {name: dotenv_values(folder / f"{name}.env", interpolate=False) for name in ("worker", "web")}
    assert {name: given["worker"][name] for name in secret} == secret
    assert {name: given["web"][name] for name in secret} == dict.fromkeys(secret, "")
    told = json.loads(printed[0])
    assert told["audit_url"].startswith("redis://core:***@")
    assert not any(value in printed[0] for value in secret.values())
    assert not {"audit_signing_key", "audit_retention_url"} & told.keys()
    # And it keeps off the usual web port, which another system may take at the same moment
    assert values["ASTROCORE_WEB_PORT"] != str(WEB_PORT_DEFAULT)
    mark = _mark_of_web(system.pid)
    assert marked_processes({mark})
    # And it tells the log store that it runs, and that a process of its own has died
    os.kill(json.loads((folder / "data" / "run" / "worker.json").read_text())["pid"], signal.SIGKILL)
    told = _told_by_up(values, number=2)
    assert [(each["event"], each["component"]) for each in told] == [
        ("process.started", "up"),
        ("child.ended", "up"),
    ]
    assert told[1]["fields"] == {"child": "worker", "ending": "was ended by SIGKILL", "delay_seconds": 0.25}
    # And when it is stopped, nothing is left
    system.stop()
    assert marked_processes({mark}) == []
    assert list((folder / "data" / "run").iterdir()) == []


def _told_by_up(values, number):
    deadline = time.monotonic() + 10
    with redis.Redis.from_url(values["ASTROCORE_LOGS_URL"]) as logs:
        while len(found := _told(logs)) < number:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    return found


def _told(logs):
    """What is told of processes; that it admits a client for the commands is a fact of the audit."""
    entries = (json.loads(fields[b"entry"]) for _id, fields in logs.xrange("astrocore:logs:entries"))
    return [each for each in entries if each["event"] != "fact.recorded"]


@pytest.mark.slow
def test_process_that_never_serves_is_reported_with_its_output(folder):
    (folder / "Procfile").write_text("web: echo the reason; exit 3\n")
    system = EmbeddedStores(folder / "data", what="up", procfile=folder / "Procfile")
    with pytest.raises(EmbeddedError, match=r"(?s)web ended 5 times before it was ready.*the reason"):
        system.start()


def test_unknown_setting_is_refused_before_anything_starts(folder, monkeypatch):
    monkeypatch.setenv("ASTROCORE_AUDIT_URI", "redis://elsewhere/0")
    with pytest.raises(EmbeddedError, match="unknown setting ASTROCORE_AUDIT_URI"):
        EmbeddedStores(folder).start()
    assert not (folder / "postgresql").exists()


def _typed_stores(directory):
    script = "import typer; from app.cli.up import stores; typer.run(stores)"
    return subprocess.run(
        [sys.executable, "-c", script, "--data-dir", str(directory)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NO_COLOR": "1"},
    )


def _mark_of_web(supervisor):
    children = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(supervisor)], capture_output=True, text=True, check=True
    ).stdout.split()
    entries = [entry.decode() for child in children for entry in _environment(child)]
    marks = {entry.partition("=")[2] for entry in entries if entry.startswith(f"{MARK_VARIABLE}=")}
    assert len(marks) == 1
    return marks.pop()


def _environment(pid):
    # A server that writes its title over its environment leaves something else here.
    return [entry for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") if entry.isascii()]

"""S4: IT operators find log entries over REST and on the command line, follow them, and take them away as a file."""

import csv
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.stories.conftest import System, wait_for

LOGS = "/v1/logs"


def ship(system: System, mark: str, count: int, **more: Any) -> None:
    entries = [
        {"event": "seat.sold", "component": "shop", "outcome": mark, "fields": {"seat": seat}} | more
        for seat in range(count)
    ]
    assert system.api.post(LOGS, json={"entries": entries}).json() == {"accepted": count}


@pytest.fixture
def mark(system: System) -> str:
    """What marks the entries of one story: 25 sales, and one that failed."""
    made = f"story-{uuid.uuid4().hex[:8]}"
    ship(system, made, 25)
    ship(
        system,
        made,
        1,
        level="ERROR",
        exception={"type": "NoSeat", "message": "none left", "stack": "in shop\nin sell"},
    )
    return made


def test_an_operator_finds_entries_by_what_they_hold_page_by_page(system: System, mark: str) -> None:
    wanted, seats = {"text": f"outcome:{mark}", "client": "astrocore", "since": "15m", "limit": 10}, []
    page = system.api.get(LOGS, params={**wanted, "level": "ERROR"}).json()
    assert [each["exception"]["type"] for each in page["items"]] == ["NoSeat"]

    cursor: str | None = ""
    while cursor is not None:
        page = system.api.get(LOGS, params=wanted | ({"cursor": cursor} if cursor else {})).json()
        seats += [each["fields"]["seat"] for each in page["items"]]
        ship(system, mark, 1)  # what arrives meanwhile moves no page
        cursor = page["next_cursor"]
    assert seats == [0, *reversed(range(25))]


def test_an_operator_finds_the_same_on_the_command_line(system: System, mark: str) -> None:
    lines = system.cli(
        "logs", "--text", f"outcome:{mark}", "--since", "15m", "--order", "oldest"
    ).splitlines()
    assert [json.loads(line)["fields"]["seat"] for line in lines] == [*range(25), 0]

    page = system.cli_json("logs", "--level", "error", "--text", mark)
    assert [each["event"] for each in page["items"]] == ["seat.sold"]
    assert system.cli_json("logs", "stats")["entries"] >= 26
    assert "1 to 1,000" not in system.cli("logs", "--since", "noon", expect=1)


@contextmanager
def follower(system: System, *words: str) -> Iterator[subprocess.Popen[str]]:
    """`astrocore logs --follow` beside the system."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ASTROCORE_")}
    with subprocess.Popen(
        [sys.executable, "-m", "app.cli.main", "logs", "--follow", *words],
        env={**environment, "ASTROCORE_DATA_DIR": str(system.data_dir)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Whoever runs the tests in the background may ignore Ctrl-C, which is handed down.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_an_operator_follows_what_happens_until_ctrl_c(system: System, mark: str) -> None:
    with follower(system, "--text", mark, "--level", "ERROR") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["exception"]["type"] == "NoSeat"
        ship(system, mark, 3)
        ship(system, mark, 2, level="CRITICAL")
        assert [json.loads(process.stdout.readline())["level"] for _ in range(2)] == ["CRITICAL"] * 2

        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stderr.read() == ""


def test_following_ends_quietly_when_its_pipe_is_closed(system: System, mark: str) -> None:
    with follower(system, "--text", mark) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        ship(system, mark, 5)

        process.wait(20)
        assert process.stderr.read() == ""


def events(response: httpx.Response) -> Iterator[dict[str, str]]:
    """The events of a stream, each with its fields."""
    event: dict[str, str] = {}
    for line in response.iter_lines():
        if line:
            name, _, value = line.partition(": ")
            event[name] = value
        else:
            yield event
            event = {}


def test_a_reader_of_the_stream_goes_on_where_it_was_cut_off(system: System, mark: str) -> None:
    wanted, seen = {"text": f"outcome:{mark}", "level": "WARNING"}, list[int]()
    last_id = system.api.get(LOGS, params=wanted).json()["items"][0]["number"]
    for sent in range(3):
        ship(system, mark, 2, level="WARNING", fields={"sent": sent})
        with system.api.stream(
            "GET", f"{LOGS}/stream", params=wanted, headers={"Last-Event-ID": str(last_id)}
        ) as response:
            assert response.headers["Content-Type"].startswith("text/event-stream")
            for event in events(response):
                if "data" in event:
                    last_id = event["id"]
                    seen.append(json.loads(event["data"])["fields"]["sent"])
                    break
    assert seen == [0, 0, 1]


@pytest.mark.parametrize("name", ["logs.ndjson", "logs.csv.gz", "logs.csv"])
def test_an_operator_takes_the_entries_away_as_a_file(
    system: System, mark: str, tmp_path: Path, name: str
) -> None:
    ship(system, mark, 1000)
    file = tmp_path / name
    done = system.cli_json("logs", "export", str(file), "--text", f"outcome:{mark}")

    assert done == {"file": str(file), "bytes": file.stat().st_size, "incomplete": None}
    if name.endswith("gz"):
        subprocess.run(["gzip", "-d", str(file)], check=True)
    with (tmp_path / name.removesuffix(".gz")).open(newline="") as lines:
        seats = (
            [int(json.loads(row["fields"])["seat"]) for row in csv.DictReader(lines)]
            if "csv" in name
            else [json.loads(line)["fields"]["seat"] for line in lines]
        )
    assert seats == [*range(25), 0, *range(1000)]


def test_what_nobody_may_ship_is_refused_with_every_fault(system: System) -> None:
    lines = '{"event": "seat.sold", "component": "web"}\n{"component": "shop"}\n{'
    answer = system.api.post(LOGS, content=lines, headers={"Content-Type": "application/x-ndjson"})

    assert answer.status_code == 422
    assert {fault["where"] for fault in answer.json()["errors"]} == {
        "lines/1/component",
        "lines/2/event",
        "lines/3",
    }


def test_the_logs_are_for_operators_only(system: System) -> None:
    url = f"http://{system.settings.web_host}:{system.settings.web_port}{LOGS}"

    for path in ("", "/stream", "/export", "/stats"):
        assert httpx.get(f"{url}{path}").status_code == 401
    assert httpx.post(url, json={"entries": []}).status_code == 401


def test_what_is_shipped_is_found_at_once(system: System) -> None:
    mark = f"story-{uuid.uuid4().hex[:8]}"
    ship(system, mark, 1)

    assert len(system.api.get(LOGS, params={"text": mark, "component": "shop"}).json()["items"]) == 1
    wait_for(lambda: system.api.get(f"{LOGS}/stats").json(), lambda stats: stats["memory_bytes"] > 0)

"""`astrocore logs`: what it asks for, and how it shows what it gets."""

import gzip
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from _pytest.capture import CaptureIO

from app.cli import log_follow
from app.cli.log_follow import ServerEvent, read_events
from app.cli.log_lines import text_of
from app.logs.queries import LogStats, Missed
from app.logs.views import LogLine, LogList
from config.log_entries import LoggedException

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
EVIL = "one\r\ntwo\x1b[31m\u2028three\x9b"


def make_line(number: int = 1, **changes: Any) -> LogLine:
    values: dict[str, Any] = {
        "number": number,
        "process": "core-1:1:0000000a",
        "sequence": number,
        "time": START + timedelta(seconds=number),
        "level": "INFO",
        "event": "tick.fired",
        "component": "scheduler",
    }
    return LogLine(**values | changes)


def make_stats(**changes: Any) -> LogStats:
    values: dict[str, Any] = dict.fromkeys(LogStats.__struct_fields__, 0)
    return LogStats(**values | {"oldest": None, "newest": None, "trimmed_until": None} | changes)


def sse(number: int | None, line: LogLine | None = None, event: str = "") -> bytes:
    head = f"id: {number}\r\n" if number is not None else ": heartbeat\r\n"
    data = b"data: " + msgspec.json.encode(line) + b"\r\n" if line else b""
    return head.encode() + (f"event: {event}\r\n".encode() if event else b"") + data + b"\r\n"


class Chunks(httpx.SyncByteStream):
    """A body that comes in pieces; an exception among them breaks it."""

    def __init__(self, *pieces: bytes | BaseException) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            if isinstance(piece, BaseException):
                raise piece
            yield piece


class Server:
    """Answers each path with what the test puts there, one after the other, and remembers what was asked."""

    def __init__(self) -> None:
        self.asked: list[httpx.Request] = []
        self.answers: dict[str, list[Any]] = {}

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        left = self.answers[request.url.path]
        answer = left.pop(0) if len(left) > 1 else left[0]
        match answer:
            case BaseException():
                raise answer
            case httpx.Response():
                return answer
            case Chunks():
                return httpx.Response(200, stream=answer)
            case _:
                return httpx.Response(200, content=msgspec.json.encode(answer))

    def params(self, at: int = -1) -> list[tuple[str, str]]:
        return self.asked[at].url.params.multi_items()


@pytest.fixture
def server(system: Any, monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server()
    made.answers["/v1/logs"] = [
        LogList([make_line(2, level="ERROR"), make_line(1)], "abc", complete=True, scanned=2)
    ]
    made.answers["/v1/logs/stats"] = [make_stats(last_number=2)]
    monkeypatch.setattr(system, "handle", made.handle)
    monkeypatch.setattr(log_follow, "AGAIN_SECONDS", 0.0)
    return made


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CaptureIO, "isatty", lambda _self: True)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")


def test_every_filter_is_asked_for_as_the_api_calls_it(typed: Callable, server: Server):
    code, _, _ = typed(
        "logs --level error --component web --event a.b --actor ada --request-id r --trace-id t --entity customers "
        "--id 7 --client operator --since 2026-01-01T00:00:00+01:00 --until 2026-02-01T00:00:00Z --text x --text a:b "
        "--order oldest --limit 5 --cursor c"
    )

    assert code == 0
    assert sorted(server.params()) == sorted({
        "level": "ERROR", "component": "web", "event": "a.b", "actor": "ada", "request_id": "r", "trace_id": "t",
        "entity": "customers", "id": "7", "client": "operator", "since": "2025-12-31T23:00:00+00:00",
        "until": "2026-02-01T00:00:00+00:00", "order": "oldest", "limit": "5", "cursor": "c", "text": "x",
    }.items() | {("text", "a:b")})  # fmt: skip


def test_a_relative_moment_is_settled_when_it_is_typed(typed: Callable, server: Server):
    typed("logs --since 2h")

    since = datetime.fromisoformat(dict(server.params())["since"])
    assert abs(datetime.now(UTC) - timedelta(hours=2) - since) < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("line", "code", "word"),
    [
        ("logs --since noon", 1, "--since 'noon'"),
        ("logs --follow --order oldest", 2, "--order"),
        ("logs --follow --cursor x", 2, "--cursor"),
        ("logs --limit 0", 2, "--limit"),
        ("logs export logs.txt", 2, ".ndjson or .csv"),
        ("logs export logs.gz", 2, ".ndjson or .csv"),
    ],
)
def test_what_cannot_be_asked_is_told_before_anything_is_asked(
    typed: Callable, server: Server, line: str, code: int, word: str
):
    answered, out, err = typed(line)

    assert (answered, out) == (code, "")
    assert word in err
    assert server.asked == []


def test_in_a_pipe_each_entry_is_a_line_of_json(typed: Callable, server: Server):
    _, out, err = typed("logs")

    assert [json.loads(line)["number"] for line in out.splitlines()] == [2, 1]
    assert "--cursor abc" in err


def test_with_json_the_page_is_one_document(typed: Callable, server: Server):
    _, out, _ = typed("logs --json")

    assert json.loads(out)["next_cursor"] == "abc"


def test_a_page_that_is_not_complete_says_so(typed: Callable, server: Server):
    server.answers["/v1/logs"] = [LogList([], "abc", complete=False, scanned=20_000)]

    assert "only some entries were looked at" in typed("logs")[2]


def test_on_a_terminal_an_entry_is_an_aligned_line(typed: Callable, server: Server, terminal: None):
    line = make_line(
        3,
        component="web",
        event="request.served",
        request_id="r-1",
        duration_ms=1.5,
        fields={"path": "/a b", "status": 200},
    )
    server.answers["/v1/logs"] = [LogList([line, make_line(1)], None, complete=True, scanned=1)]

    lines = typed("logs")[1].splitlines()

    assert len(lines) == 2
    assert "\x1b[" in lines[0]
    assert text_of(line).plain == (
        '2026-01-01 12:00:03.000 INFO     web       request.served     path="/a b" status=200 request_id=r-1 duration_ms=1.5'
    )
    assert text_of(make_line(1)).plain == "2026-01-01 12:00:01.000 INFO     scheduler tick.fired        "


@pytest.mark.parametrize("line", ["logs", "logs --verbose", "logs --json"])
@pytest.mark.parametrize("seen", [True, False])
def test_no_value_makes_a_line_or_a_colour(
    typed: Callable, server: Server, request: pytest.FixtureRequest, line: str, seen: bool
):
    if seen:
        request.getfixturevalue("terminal")
    evil = make_line(
        1,
        level=EVIL,
        event=EVIL,
        component=EVIL,
        actor=EVIL,
        fields={EVIL: EVIL, "deep": [EVIL]},
        exception=LoggedException(EVIL, EVIL, "first\nsecond \x1b[31m"),
    )
    server.answers["/v1/logs"] = [LogList([evil], None, complete=True, scanned=1)]

    _, out, _ = typed(line)

    assert "\x1b[31m\u2028" not in out
    assert not any(each in out for each in ("\r", "\u2028", "\x9b", "second \x1b"))
    if line != "logs --json":
        assert len(out.splitlines()) == (3 if "verbose" in line and seen else 1)


def test_a_stack_is_shown_below_its_entry_on_demand(typed: Callable, server: Server, terminal: None):
    raised = make_line(
        1, exception=LoggedException("ValueError", "no", "Traceback\n  File\nValueError: no\n")
    )
    server.answers["/v1/logs"] = [LogList([raised], None, complete=True, scanned=1)]

    assert "File" not in typed("logs")[1]
    assert len(typed("logs -v")[1].splitlines()) == 4
    assert text_of(raised).plain.endswith("ValueError: no")


# Following


def numbers(out: str) -> list[int]:
    return [json.loads(line)["number"] for line in out.splitlines()]


def test_following_shows_the_latest_then_what_comes_and_ends_at_ctrl_c(typed: Callable, server: Server):
    stream = Chunks(sse(2), sse(3, make_line(3)), sse(None), sse(4, make_line(4)), KeyboardInterrupt())
    server.answers["/v1/logs/stream"] = [stream]

    code, out, err = typed("logs --follow --level WARNING")

    assert (code, numbers(out), err) == (130, [1, 2, 3, 4], "")
    assert server.asked[-1].headers["last-event-id"] == "2"
    assert server.params() == [("level", "WARNING")]


def test_a_connection_that_breaks_is_made_again_after_the_last_entry(typed: Callable, server: Server):
    broken = httpx.RemoteProtocolError("cut")
    server.answers["/v1/logs/stream"] = [
        Chunks(sse(2), sse(3, make_line(3)), sse(4, make_line(4))[:-2], broken),
        httpx.ConnectError("refused"),
        httpx.Response(503, json={"detail": "away"}),
        Chunks(sse(3)),
        Chunks(sse(9)),
        Chunks(sse(10, make_line(10)), KeyboardInterrupt()),
    ]

    code, out, err = typed("logs --follow")

    assert (code, numbers(out)) == (130, [1, 2, 3, 10])
    asked = [
        request.headers["last-event-id"] for request in server.asked if request.url.path.endswith("stream")
    ]
    assert asked == ["2", "3", "3", "3", "3", "9"]
    assert "waiting for the system" in err


def test_following_gives_up_where_nothing_answers_for_long(
    typed: Callable, server: Server, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(log_follow, "PATIENCE_SECONDS", -1.0)
    server.answers["/v1/logs/stream"] = [httpx.ConnectError("refused")]

    code, _, err = typed("logs --follow")

    assert code == 1
    assert "no running system was found" in err


def test_a_refusal_ends_the_following(typed: Callable, server: Server):
    server.answers["/v1/logs/stream"] = [httpx.Response(422, json={"detail": "bad", "errors": []})]

    assert typed("logs --follow")[0] == 1


def test_what_was_missed_is_told(typed: Callable, server: Server):
    missed = b'id: 900\r\nevent: missed\r\ndata: {"first": 3, "last": 900, "count": 898, "reason": "trimmed"}\r\n\r\n'
    server.answers["/v1/logs/stream"] = [Chunks(missed, KeyboardInterrupt())]

    _, out, err = typed("logs --follow")

    assert numbers(out) == [1, 2]
    assert "missed 898 entries, number 3 to 900: they were given up" in err


def test_every_reason_for_a_gap_can_be_told():
    assert list(log_follow.WHY_MISSED) == list(Missed.__annotations__["reason"].__args__)


def test_events_are_read_whatever_the_pieces_they_come_in():
    body = "id: 1\ndata: a\u2028b\x85c\r\ndata:d\n\n: comment\n\nevent: missed\nid\ndata: \n\ndata: x\n\nid: 3\n".encode()
    events = [
        ServerEvent("1", "message", "a\u2028b\x85c\nd"),
        ServerEvent("1", "message", ""),
        ServerEvent("", "missed", ""),
        ServerEvent("", "message", "x"),
    ]

    for size in (1, 2, 3, 7, len(body)):
        assert list(read_events(body[at : at + size] for at in range(0, len(body), size))) == events


# Exporting


@pytest.mark.parametrize("name", ["logs.ndjson", "logs.csv", "logs.ndjson.gz", "logs.csv.gz"])
def test_an_export_is_written_as_its_name_says(typed: Callable, server: Server, tmp_path: Path, name: str):
    packed = httpx.Response(
        200, stream=Chunks(gzip.compress(b"one\ntwo\n")), headers={"Content-Encoding": "gzip"}
    )
    server.answers["/v1/logs/export"] = [packed]

    code, out, _ = typed(f"logs export {name} --level ERROR --json")

    content = (tmp_path / name).read_bytes()
    assert code == 0
    assert json.loads(out) == {"file": name, "bytes": len(content), "incomplete": None}
    assert (gzip.decompress(content) if name.endswith("gz") else content) == b"one\ntwo\n"
    assert server.params() == [("level", "ERROR"), ("format", name.split(".")[1])]
    assert [each.name for each in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("logs.ndjson", b'{"incomplete":"this export is not whole: 4 entries","trimmed":4,"unreadable":0}\n'),
        ("logs.csv", b'"this export is not whole: 4 entries"\r\n'),
    ],
)
def test_an_export_that_lacks_something_is_kept_and_told(
    typed: Callable, server: Server, tmp_path: Path, name: str, line: bytes
):
    server.answers["/v1/logs/export"] = [Chunks(b"x" * 5000 + b"\n" + line[:9], line[9:])]

    code, out, err = typed(f"logs export {name} --json")

    assert (code, json.loads(out)["incomplete"]) == (0, "this export is not whole: 4 entries")
    assert "this export is not whole: 4 entries" in err
    assert (tmp_path / name).read_bytes().endswith(line)


def test_entries_that_cannot_be_read_are_told(typed: Callable, server: Server):
    server.answers["/v1/logs"] = [LogList([make_line()], None, complete=True, scanned=4, unreadable=3)]

    assert "3 entries on the way cannot be read" in typed("logs")[2]


def test_an_export_that_breaks_off_leaves_no_file(typed: Callable, server: Server, tmp_path: Path):
    server.answers["/v1/logs/export"] = [
        Chunks(b"one\n", httpx.RemoteProtocolError("incomplete chunked read"))
    ]

    code, _, err = typed("logs export logs.ndjson")

    assert code == 1
    assert "logs.ndjson was not written" in err
    assert list(tmp_path.iterdir()) == []


def test_an_export_replaces_a_file_only_when_told_to(typed: Callable, server: Server, tmp_path: Path):
    server.answers["/v1/logs/export"] = [Chunks(b"new\n")]
    file = tmp_path / "logs.ndjson"
    file.write_text("old")

    refused, _, err = typed("logs export logs.ndjson")
    assert (refused, file.read_text(), server.asked) == (1, "old", [])
    assert "--force" in err
    assert typed("logs export logs.ndjson --force")[0] == 0
    assert file.read_text() == "new\n"


def test_an_export_into_nowhere_is_told_in_a_line(typed: Callable, server: Server):
    server.answers["/v1/logs/export"] = [Chunks(b"new\n")]

    code, _, err = typed("logs export nowhere/logs.ndjson")

    assert code == 1
    assert "cannot be written" in err


def test_the_figures_are_told(typed: Callable, server: Server):
    server.answers["/v1/logs/stats"] = [
        make_stats(
            entries=1234,
            oldest=START,
            newest=START,
            trimmed=5,
            trimmed_until=START,
            lost=2,
            memory_bytes=2_500_000,
        )
    ]

    _, out, _ = typed("logs stats")

    assert "1,234" in out
    assert "5, up to 2026-01-01 12:00:00" in out
    assert "2.5 MB" in out
    assert json.loads(typed("logs stats --json")[1])["lost"] == 2

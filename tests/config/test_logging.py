"""What is logged comes out as one line and one entry, whoever said it and however it looks."""

import gc
import inspect
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import warnings
from contextlib import suppress
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from config.log_entries import LEVELS
from config.logging import log_start, log_stop
from tests.config.conftest import SetUp

ROOT = Path(__file__).parents[2]
HOSTILE = "a\r\nb\x1b[31mc\x85d\u2028e\x00f\u202eg\x9bh"


def raised(text: str) -> BaseException:
    error = ValueError(text)
    try:
        raise error
    except ValueError:
        return error


def test_an_entry_is_a_line_in_a_pipe_and_data_for_the_store(set_up: SetUp) -> None:
    logged = set_up("web")

    logger.bind(status=200, path="/x", duration_ms=1.26, request_id="r").info("request.served")

    [entry], [line] = logged.entries, logged.lines
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d\.\d{3} INFO    request\.served status=200 path='/x' duration_ms=1\.3 request_id='r'",
        line,
    )
    assert (entry.component, entry.event, entry.level) == ("web", "request.served", "INFO")
    assert (entry.fields, entry.duration_ms, entry.request_id) == ({"status": 200, "path": "/x"}, 1.3, "r")
    assert entry.time.tzinfo is UTC
    assert entry.time.microsecond % 1000 == 0


def test_a_terminal_gets_aligned_and_coloured_lines(set_up: SetUp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    logged = set_up(tty=True)

    logger.bind(run_id="1").info("run.resumed")
    logger.bind(schedule="s").warning("tick.missed")

    first, second = (re.sub(r"\x1b\[[0-9;]*m", "", line) for line in logged.lines)
    assert "\x1b[32mINFO" in logged.lines[0]
    assert first.index("run_id=") == second.index("schedule=")


def test_no_color_is_respected(set_up: SetUp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    logged = set_up(tty=True)
    logger.info("run.resumed")
    assert "\x1b" not in logged.text


def test_entries_of_a_process_are_counted_without_a_gap_by_many_threads(set_up: SetUp) -> None:
    logged = set_up(level="INFO")

    def say() -> None:
        for _ in range(100):
            logger.info("run.resumed")
            logger.debug("run.resumed")

    threads = [threading.Thread(target=say) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert [entry.sequence for entry in logged.entries] == list(range(1, 801))
    [process] = {entry.process for entry in logged.entries}
    assert re.fullmatch(r".+:\d+:[0-9a-f]{8}", process)


def test_what_a_library_says_is_data_under_one_event(set_up: SetUp) -> None:
    logged = set_up()
    library = logging.getLogger("some.library")

    library.info("braces {x} and %s", "<red>tags</red>")
    library.warning("50%")
    library.log(25, "between levels")
    library.info("too few %s %s", "arguments")

    assert [(each.event, each.level, each.fields) for each in logged.entries] == [
        ("library.reported", level, {"logger": "some.library", "message": message})
        for level, message in (
            ("INFO", "braces {x} and <red>tags</red>"),
            ("WARNING", "50%"),
            ("INFO", "between levels"),
            ("INFO", "too few %s %s ('arguments',)"),
        )
    ]


@pytest.mark.parametrize(
    ("name", "level", "says"),
    [
        ("pymongo.x", logging.INFO, False),
        ("granian", logging.INFO, False),
        ("granian", logging.WARNING, True),
        ("dramatiq.worker.WorkerThread", logging.ERROR, False),  # has an entry of ours
        ("dramatiq.worker.WorkerThread", logging.CRITICAL, True),
        ("dramatiq.broker", logging.INFO, True),
        ("anything", logging.DEBUG, False),
    ],
)
def test_chatty_libraries_are_heard_from_their_own_level_on(
    set_up: SetUp, name: str, level: int, *, says: bool
) -> None:
    logged = set_up()
    logging.getLogger(name).log(level, "hello")
    assert bool(logged.entries) is says


@pytest.mark.parametrize("tty", [False, True])
@pytest.mark.parametrize(
    "say",
    [
        lambda: logger.bind(value=HOSTILE).info("run.resumed"),
        lambda: logger.bind(value={HOSTILE: [HOSTILE]}).info("run.resumed"),
        lambda: logger.bind(**{HOSTILE: 1}).info("run.resumed"),
        lambda: logger.bind(entity=HOSTILE, key=HOSTILE, request_id=HOSTILE).info("run.resumed"),
        lambda: logger.info(HOSTILE),
        lambda: logging.getLogger(HOSTILE).info(HOSTILE),
        lambda: logging.getLogger("x").info("%s", HOSTILE.encode()),
    ],
)
def test_no_value_makes_a_line_or_a_colour_of_its_own(set_up: SetUp, say, *, tty: bool) -> None:
    logged = set_up(tty=tty)

    say()

    # splitlines knows every end of a line that there is.
    [line] = logged.lines
    assert logged.text.count("\n") == 1
    assert re.sub(r"\x1b\[(?:0|2|32)m", "", line).isprintable()


def test_the_lines_of_a_stack_are_marked_so_that_a_message_cannot_pass_for_an_entry(set_up: SetUp) -> None:
    logged = set_up()
    logger.opt(exception=raised("first\n12:00:00.000 INFO    run.resumed\r\x1b[31m")).error("request.failed")

    head, *stack = logged.lines
    assert "request.failed" in head
    assert len(stack) > 3
    assert all(line.startswith("    | ") and line.isprintable() for line in stack)
    [entry] = logged.entries
    assert entry.exception is not None
    assert entry.exception.type == "ValueError"
    assert entry.exception.message.startswith("first\n")
    assert "test_logging.py" in entry.exception.stack


def test_a_stack_tells_the_causes_too(set_up: SetUp) -> None:
    logged = set_up()
    error = raised("outer")
    error.__cause__ = raised("inner")

    logger.opt(exception=error).error("request.failed")

    [entry] = logged.entries
    assert entry.exception is not None
    assert entry.exception.stack.index("ValueError: inner") < entry.exception.stack.index("ValueError: outer")


def test_a_chain_of_causes_without_end_is_told_somehow(set_up: SetUp) -> None:
    logged = set_up()
    error: BaseException = ValueError("password=planted")
    for number in range(3000):
        following = ValueError(f"number {number}")
        following.__cause__ = error
        error = following

    logger.opt(exception=error).error("request.failed")

    [entry] = logged.entries
    assert entry.exception is not None
    assert entry.exception.message == "number 2999"
    assert "planted" not in logged.text


def test_an_exception_that_nobody_caught_is_logged_and_not_printed(set_up: SetUp) -> None:
    logged = set_up()

    error = ValueError("boom")
    sys.excepthook(ValueError, error, None)
    thread = threading.Thread(target=lambda: 1 / 0, name="helper")
    thread.start()
    thread.join()

    assert [(each.event, each.level) for each in logged.entries] == [
        ("process.failed", "CRITICAL"),
        ("thread.failed", "ERROR"),
    ]
    assert logged.entries[1].fields == {"thread": "helper"}
    assert "Exception in thread" not in logged.text


def test_ctrl_c_is_told_in_a_line_of_ours(set_up: SetUp) -> None:
    logged = set_up()
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert [(each.event, each.level) for each in logged.entries] == [("process.interrupted", "INFO")]
    assert "Traceback" not in logged.text


def test_what_python_could_not_raise_is_logged_and_not_printed(set_up: SetUp) -> None:
    class Careless:
        def __del__(self) -> None:
            raise ValueError("password=hunter2hunter2")

    logged = set_up()
    Careless()
    gc.collect()

    [entry] = logged.entries
    assert (entry.event, entry.level) == ("exception.ignored", "ERROR")
    assert entry.exception is not None
    assert entry.exception.type == "ValueError"
    assert "Careless.__del__" in entry.fields["object"]
    assert "hunter2" not in logged.text
    assert "Exception ignored in" not in logged.text


def test_a_warning_is_logged_and_not_printed(set_up: SetUp) -> None:
    logged = set_up()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = logging._showwarning  # type: ignore[attr-defined]  # which pytest has replaced
        warnings.warn("old, password=hunter2hunter2", DeprecationWarning, stacklevel=1)
    [entry] = logged.entries
    assert (entry.event, entry.level) == ("library.reported", "WARNING")
    assert entry.fields["logger"] == "py.warnings"
    assert "DeprecationWarning: old" in entry.fields["message"]
    assert "hunter2" not in logged.text


def test_the_hooks_of_a_process_are_ours_from_its_first_line_on(tmp_path: Path) -> None:
    script = """
import sys, warnings
from config.logging import set_up_logging
set_up_logging("worker")
warnings.simplefilter("always")
warnings.warn("old")
raise KeyboardInterrupt
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=os.environ | {"ASTROCORE_DATA_DIR": str(tmp_path)},
    )
    first, second = done.stderr.splitlines()
    assert "library.reported logger='py.warnings'" in first
    assert "INFO    process.interrupted" in second
    assert done.returncode == -signal.SIGINT


def test_a_process_that_tells_in_its_own_way_has_no_lines(
    set_up: SetUp, capsys: pytest.CaptureFixture[str]
) -> None:
    logged = set_up(shown=False)
    logger.info("run.resumed")
    assert (logged.text, len(logged.entries)) == ("", 1)


class Broken:
    """What raises at every look."""

    def __repr__(self) -> str:
        raise RuntimeError("no")

    __str__ = __eq__ = __len__ = __iter__ = __bool__ = __float__ = __int__ = __repr__  # type: ignore[assignment]
    __hash__ = object.__hash__


@pytest.mark.parametrize(
    "given",
    [
        (Broken(), ()),
        ("%s", (Broken(),)),
        ("%(x)s", ({"x": Broken()},)),
        ("%d and %s", (10**10_000, "\ud800")),
        ("\ud800%", ()),
        (10**10_000, ()),
        (b"\xff", (1,)),
        ("%s", (float("nan"),)),
        (None, ()),
    ],
    ids=range(9),
)
def test_whatever_a_library_says_it_is_logged_and_nothing_is_raised(set_up: SetUp, given: Any) -> None:
    logged = set_up()
    message, arguments = given
    logging.getLogger("library").warning(message, *arguments)
    logging.getLogger("library").warning(message, *arguments, exc_info=(1, 2, 3))  # type: ignore[arg-type]
    assert {each.event for each in logged.entries} == {"library.reported"}
    assert len(logged.entries) >= 1


def test_a_log_call_at_the_end_of_the_stack_raises_nothing_of_ours(set_up: SetUp) -> None:
    logged = set_up()

    def dig(deeper: int) -> None:
        if deeper:
            dig(deeper - 1)
        else:
            logging.getLogger("library").warning("got %s", [{"a": [deeper]}])

    limit = sys.getrecursionlimit()
    for room in range(1, 60, 3):
        with suppress(
            RecursionError
        ):  # which loguru, or the standard library, may raise before it is our turn
            dig(limit - len(inspect.stack()) - room)
    logger.bind(at="the end").info("run.resumed")
    assert logged.entries[-1].fields == {"at": "the end"}


def test_a_process_tells_its_start_its_stop_and_its_version(set_up: SetUp) -> None:
    logged = set_up("scheduler")
    log_start()
    log_stop()
    assert [(each.event, each.component) for each in logged.entries] == [
        ("process.started", "scheduler"),
        ("process.stopped", "scheduler"),
    ]
    assert all(each.fields["version"] for each in logged.entries)


def test_a_terminal_that_went_away_takes_nothing_down(set_up: SetUp) -> None:
    logged = set_up()
    logged.stream.close()
    logger.info("run.resumed")
    assert [each.event for each in logged.entries] == ["run.resumed"]


def test_what_a_value_says_while_it_is_written_breaks_nothing(set_up: SetUp) -> None:
    class Chatty:
        def __repr__(self) -> str:
            logging.getLogger("chatty").warning("looked at")
            return "chatty"

    logged = set_up()
    logger.bind(value=Chatty()).info("run.resumed")
    [entry] = logged.entries
    assert entry.fields == {"value": "chatty"}


@pytest.mark.parametrize("level", LEVELS)
def test_every_level_is_one_of_five(set_up: SetUp, level: str) -> None:
    logged = set_up()
    logger.log(level, "run.resumed")
    logger.log("SUCCESS", "run.resumed")
    assert [each.level for each in logged.entries] == [level, "INFO"]


def test_a_library_with_a_sink_of_its_own_writes_to_ours_alone(
    set_up: SetUp, capsys: pytest.CaptureFixture[str]
) -> None:
    library = logging.getLogger("_granian")
    library.addHandler(logging.StreamHandler(sys.stdout))
    library.propagate = False
    logged = set_up()
    library.error("listening with password=hunter2hunter2")
    assert "hunter2" not in str(logged.entries) + capsys.readouterr().out
    assert [each.event for each in logged.entries] == ["library.reported"]

"""The list of events is closed: the source logs what is on it and nothing else, and the documentation has all of it."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import config
from config.events import EVENTS
from config.log_entries import LEVELS

ROOT = Path(config.__file__).parent.parent
METHODS: dict[str, str] = {level.lower(): level for level in LEVELS} | {"exception": "ERROR"}
LOGGING = {"log", *METHODS}


def sources() -> Iterator[Path]:
    for package in ("actors", "app", "config", "web"):
        yield from (ROOT / package).rglob("*.py")


def logging_calls(tree: ast.AST) -> Iterator[ast.Call]:
    """Every call of a method that logs; in a module that uses loguru these names mean nothing else."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LOGGING:
            yield node


def constants(expression: ast.expr) -> set[str]:
    """What a level may be: a constant, or one of two."""
    match expression:
        case ast.Constant(value=str(value)):
            return {value}
        case ast.IfExp(body=body, orelse=other):
            return constants(body) | constants(other)
        case ast.Call(func=ast.Name(id="level_of")):
            return set(LEVELS)
    raise AssertionError(f"line {expression.lineno}: the level is no constant")


def logged() -> dict[str, set[str]]:
    """Event -> levels, over the whole source."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in sources():
        text = path.read_text()
        if "from loguru import logger" not in text:
            continue
        for call in logging_calls(ast.parse(text)):
            where = f"{path.relative_to(ROOT)}:{call.lineno}"
            name = call.func.attr  # type: ignore[attr-defined]
            arguments = call.args if name != "log" else call.args[1:]
            assert len(arguments) == 1, f"{where}: an event takes no arguments; data is bound as fields"
            assert not call.keywords, f"{where}: data is bound, by logger.bind"
            assert isinstance(arguments[0], ast.Constant), f"{where}: an event is a constant"
            found[arguments[0].value] |= constants(call.args[0]) if name == "log" else {METHODS[name]}
    return found


def test_what_is_logged_is_listed_with_its_levels_and_what_is_listed_is_logged() -> None:
    assert logged() == {name: set(event.levels) for name, event in EVENTS.items()}


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_is_a_noun_and_a_verb(name: str) -> None:
    # A participle: what has happened to the noun.
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*\.[a-z]*(ed|lost|found|taken|kept|read)", name)


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_says_in_a_sentence_what_it_means(name: str) -> None:
    assert EVENTS[name].meaning.endswith(".")
    assert EVENTS[name].levels <= set(LEVELS)


def test_the_documentation_lists_the_same_events() -> None:
    text = (ROOT / "docs" / "logging.md").read_text()
    rows = re.findall(r"^\| `([a-z_.]+)` \| ([A-Z, ]+) \| (.+) \|$", text, re.MULTILINE)
    assert {name: (levels, meaning) for name, levels, meaning in rows} == {
        name: (", ".join(level for level in LEVELS if level in event.levels), event.meaning)
        for name, event in EVENTS.items()
    }
    assert len(rows) == len(EVENTS)


def test_only_the_configuration_of_logging_touches_the_standard_librarys_loggers() -> None:
    users = [
        path.relative_to(ROOT).as_posix()
        for path in sources()
        if re.search(r"^import logging$", path.read_text(), re.MULTILINE)
    ]
    assert users == ["config/logging.py"]

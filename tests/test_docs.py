"""What the documentation refers to is there."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SECURITY = (ROOT / "docs" / "security.md").read_text()
NAMED = sorted(set(re.findall(r"(tests/[\w/]+\.py)::(test_\w+)", SECURITY)))


@cache
def defined_in(path: str) -> set[str]:
    """The test functions of a module."""
    file = ROOT / path
    tree = ast.parse(file.read_text()) if file.is_file() else ast.Module(body=[], type_ignores=[])
    return {each.name for each in tree.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_test_that_shows_a_promise_of_security_is_there() -> None:
    assert len(NAMED) > 90
    assert [f"{path}::{name}" for path, name in NAMED if name not in defined_in(path)] == []


def test_every_module_that_keeps_a_promise_of_security_is_there() -> None:
    named = {f"app/{each}" for each in re.findall(r"`(accounts/\w+\.py)`", SECURITY)}
    named |= set(re.findall(r"`((?:app|web|config)/[\w/]+\.(?:py|html))`", SECURITY))
    assert len(named) > 25
    assert [each for each in sorted(named) if not (ROOT / each).is_file()] == []


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_every_page_that_a_page_leads_to_is_there(page: Path) -> None:
    links = re.findall(r"\]\(([\w./-]+\.md)\)", page.read_text())
    assert [each for each in links if not (page.parent / each).is_file()] == []

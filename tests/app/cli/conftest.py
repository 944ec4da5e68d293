import json
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from app.cli import client, main
from config.settings import PREFIX, settings


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No settings but those of the test, and no colours."""
    import os

    for name in list(os.environ):
        if name.startswith(PREFIX):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    settings.cache_clear()
    yield
    settings.cache_clear()


class System:
    """A running system that answers what the test tells it to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Any]] = []
        self._answers: dict[tuple[str, str], list[httpx.Response]] = {}

    def answer(self, method: str, path: str, *values: Any, status: int = 200) -> None:
        """Answer these values one after the other, and the last one from then on."""
        base = client.BESIDE.get(path.partition("/")[0], client.BASE)
        self._answers[method, f"{base}/{path}"] = [
            httpx.Response(status, content=msgspec.json.encode(value)) for value in values
        ]

    def handle(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else None
        path = request.url.path.removeprefix(client.BASE + "/").removeprefix("/v1/")
        self.asked.append((request.method, path, body))
        left = self._answers.get((request.method, request.url.path))
        if left is None:
            return httpx.Response(404, json={"detail": f"nothing lies at {request.url.path}"})
        return left.pop(0) if len(left) > 1 else left[0]


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> System:
    made = System()
    real = httpx.Client

    def connect(**options: Any) -> httpx.Client:
        return real(**options, transport=httpx.MockTransport(made.handle))

    monkeypatch.setattr(client.httpx, "Client", connect)
    return made


Typed = tuple[int, str, str]


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str]) -> Callable[[str], Typed]:
    """Type a command: its exit code, stdout and stderr."""

    def run(line: str) -> Typed:
        code = main.run(shlex.split(line))
        out, err = capsys.readouterr()
        return code, out, err

    return run

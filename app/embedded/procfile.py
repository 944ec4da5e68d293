"""The Procfile: one `name: command` per line."""

import re
from pathlib import Path

import app
from app.embedded.errors import EmbeddedError

_LINE = re.compile(r"(?P<name>[A-Za-z0-9_-]+):\s*(?P<command>\S.*)")


def parse_procfile(text: str) -> dict[str, str]:
    """The commands by name, in the order of the file; blank lines and comments are skipped.

    Raises EmbeddedError for any other line, and for a name that comes twice.
    """
    commands: dict[str, str] = {}
    for number, line in enumerate(map(str.strip, text.splitlines()), start=1):
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise EmbeddedError(f"Procfile line {number} is not of the form `name: command`: {line}")
        if match["name"] in commands:
            raise EmbeddedError(f"Procfile line {number}: {match['name']} is there twice")
        commands[match["name"]] = match["command"]
    return commands


def repository_root() -> Path:
    """The folder that holds the `app` package."""
    return Path(app.__file__).resolve().parent.parent


def read_procfile(path: Path | None = None) -> dict[str, str]:
    """The project's own Procfile unless another is given; raises EmbeddedError where it is missing."""
    path = path or repository_root() / "Procfile"
    if not path.is_file():
        raise EmbeddedError(
            f"there is no Procfile at {path}; run `astrocore up` from a checkout of the project"
        )
    return parse_procfile(path.read_text(encoding="utf-8"))

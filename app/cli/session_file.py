"""Where the commands remember who has signed in: a refresh token, in a file that nobody else may read."""

import os
from pathlib import Path

from config.settings import Settings

_PRIVATE = 0o600


def path_of(chosen: Settings) -> Path:
    """The file, in the data directory."""
    return chosen.data_dir / "session"


def read(chosen: Settings) -> str | None:
    """The refresh token; None where nobody has signed in."""
    try:
        return path_of(chosen).read_text(encoding="ascii").strip() or None
    except (FileNotFoundError, NotADirectoryError):
        return None


def write(chosen: Settings, token: str) -> None:
    """Keep a refresh token in place of the one before it, all of it or nothing."""
    file = path_of(chosen)
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(f"{file.name}.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _PRIVATE)
    with os.fdopen(descriptor, "w", encoding="ascii") as opened:
        opened.write(token)
    beside.replace(file)


def remove(chosen: Settings) -> None:
    """Forget who has signed in."""
    path_of(chosen).unlink(missing_ok=True)

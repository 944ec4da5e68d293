"""Where the commands remember who has signed in: a refresh token, in a file that nobody else may read.

The token is good once, and commands may run at the same time: each of them reads, uses and replaces it while it is alone.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import Self

from app.cli.errors import CommandError
from config.settings import Settings

_PRIVATE = 0o600


@dataclass(frozen=True)
class SessionFile:
    """The file, in the data directory."""

    path: Path

    @classmethod
    def of(cls, chosen: Settings) -> Self:
        """Where the settings want it."""
        return cls(chosen.data_dir / "session")

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep the other commands from the token; waits for the one that has it now. Raises CommandError."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, _PRIVATE)
        except OSError as error:
            raise CommandError(
                f"{self.path.parent} cannot be written to: {error.strerror}", "it is the data directory"
            ) from None
        try:
            flock(lock, LOCK_EX)
            yield
        finally:
            os.close(lock)

    def read(self) -> str | None:
        """The refresh token; None where nobody has signed in. Raises CommandError where the file holds none."""
        try:
            token = self.path.read_text(encoding="ascii").strip()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise self._damaged(error) from None
        if not token:
            raise self._damaged("it is empty")
        return token

    def write(self, token: str) -> None:
        """Keep a refresh token in place of the one before it, all of it or nothing, also where the machine stops."""
        beside = self.path.with_suffix(".new")
        beside.unlink(missing_ok=True)  # what a command left behind that was killed
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE)
        with os.fdopen(descriptor, "w", encoding="ascii") as opened:
            opened.write(token)
            opened.flush()
            os.fsync(descriptor)
        beside.replace(self.path)

    def remove(self) -> None:
        """Forget who has signed in."""
        self.path.unlink(missing_ok=True)

    def _damaged(self, why: object) -> CommandError:
        # To go on as the client could be to do more than whoever signed in may.
        return CommandError(f"{self.path} cannot be read: {why}", "remove it, and sign in again")

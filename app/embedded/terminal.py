"""Lines on the terminal, each with the name of the process that wrote it."""

import os
import zlib
from contextlib import suppress
from typing import TextIO

NAME_WIDTH = 10
_COLOURS = (36, 33, 35, 32, 34, 96, 93, 95)


class Terminal:
    """Prefixed output to one stream; while `muted`, lines of processes go to their logs only."""

    def __init__(self, stream: TextIO) -> None:
        self.muted = False
        self._stream = stream
        self._coloured = stream.isatty() and "NO_COLOR" not in os.environ

    def line(self, name: str, text: str) -> None:
        """What a process wrote."""
        if not self.muted:
            self.write(f"{self._prefix(name)} {text}")

    def say(self, text: str) -> None:
        """What the supervisor itself has to say."""
        self.write(f"{self._prefix('system')} {text}")

    def write(self, text: str) -> None:
        # A reader that went away (`| head`) must not take the system down.
        with suppress(OSError, ValueError):
            self._stream.write(text + "\n")
            self._stream.flush()

    def _prefix(self, name: str) -> str:
        prefix = f"{name:<{NAME_WIDTH}}|"
        if not self._coloured:
            return prefix
        # The same name has the same colour in every run.
        return f"\x1b[{_COLOURS[zlib.crc32(name.encode()) % len(_COLOURS)]}m{prefix}\x1b[0m"

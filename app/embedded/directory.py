"""The data directory: one lock, one `env` file, and a folder for each thing that is kept."""

import fcntl
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from dotenv import dotenv_values

from app.embedded.errors import DirectoryInUseError, EmbeddedError

LOG_ROTATION_BYTES = 5_000_000


class DataDirectory:
    """A data directory that this process alone uses, from `open` until `close`."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock
        self.env_file = path / "env"
        self.is_new = not self.env_file.exists()

    @classmethod
    def open(cls, path: Path) -> Self:
        """Create the directory where it is missing and lock it.

        Raises DirectoryInUseError, naming the holder, and EmbeddedError where it cannot be created.
        """
        try:
            path = path.expanduser().resolve()
            # The user that PostgreSQL runs as under root has to pass through; it can list nothing.
            path.mkdir(parents=True, exist_ok=True, mode=0o711 if os.geteuid() == 0 else 0o700)
            lock = _lock(path / "lock")
        except OSError as error:
            raise EmbeddedError(f"the data directory {path} cannot be used: {error.strerror}") from error
        return cls(path, lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        os.close(self._lock)

    def folder(self, name: str) -> Path:
        """A folder of this directory that only our user can enter; created where it is missing."""
        path = self.path / name
        path.mkdir(mode=0o700, exist_ok=True)
        return path

    def log_file(self, name: str) -> Path:
        """The log of a child process; a long one of earlier runs is put aside first."""
        path = self.folder("logs") / f"{name}.log"
        if path.exists() and path.stat().st_size > LOG_ROTATION_BYTES:
            path.replace(path.with_suffix(".log.1"))
        return path

    def read_env(self) -> dict[str, str]:
        """What the last run left in the `env` file; empty before the first."""
        return read_env(self.path)

    def write_env(self, values: Mapping[str, str]) -> None:
        lines = (f"{name}={_quoted(value)}\n" for name, value in sorted(values.items()))
        write_private(self.env_file, "".join(lines))

    def has(self, marker: str) -> bool:
        return (self.path / marker).exists()

    def mark(self, marker: str) -> None:
        (self.path / marker).touch(mode=0o600)

    def rename_mark(self, marker: str, new: str) -> None:
        (self.path / marker).rename(self.path / new)


def read_env(data_dir: Path) -> dict[str, str]:
    """What the `env` file of a data directory says; empty where there is none."""
    file = data_dir / "env"
    if not file.exists():
        return {}
    return {name: value or "" for name, value in dotenv_values(file, interpolate=False).items()}


def write_private(path: Path, text: str) -> None:
    """Replace a file as a whole, readable by our user only, so that no reader ever sees half of it."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    new.replace(path)


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _lock(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 20).decode().strip() or "unknown"
        os.close(descriptor)
        raise DirectoryInUseError(
            f"{path.parent} is in use by process {holder}; stop it, or choose another directory with --data-dir"
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor

"""The ways in: for the command line, and for tests and benchmarks that need running stores."""

import asyncio
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal

from loguru import logger

from app.embedded.directory import DataDirectory, read_env
from app.embedded.errors import EmbeddedError
from app.embedded.plan import data_dir, given_values
from app.embedded.ports import free_port
from app.embedded.system import Options, System
from config.settings import PREFIX

READY_SECONDS = 60.0
STOP_SECONDS = 12.0

What = Literal["up", "stores"]


def run(what: What, *, environ: Mapping[str, str], options: Options) -> None:
    """Run the system, or its stores, until a signal asks to stop. Call it from the main thread.

    Raises EmbeddedError or SettingsError where it cannot start.
    """
    logger.remove()  # until there is a log store, what happens is told on the terminal alone
    with DataDirectory.open(data_dir(environ)) as directory:
        system = System(directory, given_values(environ), options)
        asyncio.run(system.up() if what == "up" else system.stores())


class EmbeddedStores:
    """Stores (or with `what="up"` the whole system) for a test or a benchmark, in a process of their own.

    That process ends when this one does, however that ends: it watches a pipe. Any thread may start it.
    Without `data_dir` a temporary one is used, and removed by `stop`.
    """

    def __init__(
        self, data_dir: Path | None = None, *, what: What = "stores", procfile: Path | None = None
    ) -> None:
        self.environment: dict[str, str] = {}
        self.data_dir = data_dir
        self._temporary: Path | None = None
        self._arguments = [what, *([str(procfile)] if procfile else [])]
        self._process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int | None:
        """The process id of the supervisor while it runs."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Return once everything answers, with `environment` filled. Raises EmbeddedError where it does not."""
        if self.data_dir is None:
            self.data_dir = self._temporary = _temporary_folder()
        with tempfile.TemporaryFile("w+") as errors:
            self._process = self._spawn(errors)
            answer = self._first_line(self._process)
            if answer is None:
                self.stop()
                errors.seek(0)
                raise EmbeddedError(f"the embedded stores did not start: {errors.read().strip()}")
        # What was printed is for everybody to see, and so lacks what is secret.
        self.environment = read_env(self.data_dir) | {f"{PREFIX}DATA_DIR": json.loads(answer)["data_dir"]}

    def stop(self) -> None:
        """Stop everything; safe to call twice."""
        if self._process is not None:
            self._end(self._process)
            self._process = None
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)
            self.data_dir = self._temporary = None

    def _spawn(self, errors: IO[str]) -> subprocess.Popen[str]:
        assert self.data_dir is not None
        environment = {**os.environ, f"{PREFIX}DATA_DIR": str(self.data_dir)}
        if not (self.data_dir / "env").exists():
            # The web server lets others listen beside it: two systems that both took the usual port would share it.
            environment.setdefault(f"{PREFIX}WEB_PORT", str(free_port()))
        return subprocess.Popen(
            [sys.executable, "-m", "app.embedded", *self._arguments],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            # Ctrl-C at a test run's terminal is the test run's to handle.
            start_new_session=True,
        )

    @staticmethod
    def _first_line(process: subprocess.Popen[str]) -> str | None:
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], READY_SECONDS)
        return (process.stdout.readline() if ready else "") or None

    @staticmethod
    def _end(process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


@contextmanager
def embedded_stores(data_dir: Path | None = None) -> Iterator[dict[str, str]]:
    """Run the stores around a block, which is given the `ASTROCORE_*` values that lead to them."""
    stores = EmbeddedStores(data_dir)
    stores.start()
    try:
        yield stores.environment
    finally:
        stores.stop()


def _temporary_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="astrocore-"))
    # The user that PostgreSQL runs as under root has to pass through.
    folder.chmod(0o711)
    return folder

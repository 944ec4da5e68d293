"""The whole system on one machine: stores, migrations, processes, and the demo on the first start."""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import httpx

from app.embedded import servers
from app.embedded.banner import banner, web_url
from app.embedded.child import Child, Command
from app.embedded.directory import DataDirectory
from app.embedded.errors import EmbeddedError
from app.embedded.mailbox import FOLDER as MAILBOX
from app.embedded.operator import Operator
from app.embedded.operator import ensure as ensure_operator
from app.embedded.plan import WEB_PORT_DEFAULT, Plan, make_plan
from app.embedded.procfile import read_procfile, repository_root
from app.embedded.records import Records
from app.embedded.servers import Store
from app.embedded.supervisor import Supervisor, wait_ready
from app.embedded.terminal import Terminal
from app.logs.shipping import start_shipping
from config.logging import log_start, log_stop
from config.settings import PREFIX, Settings, parse_settings
from config.settings import settings as read_settings

WEB = "web"
# Processes stop in this order, any others before them, the stores last. The seconds are until they are killed:
# with the stores' three they stay below the ten that a stop may take.
STOP_SECONDS = {WEB: 1.5, "scheduler": 1.0, "worker": 3.5}
OTHER_STOP_SECONDS = 1.0
PROBE_SECONDS = 2.0
LAST_ENTRIES_SECONDS = 0.5

DEMO_PENDING = "seeding"
DEMO_DONE = "seeded"
DEMO = (
    ("seed", "filling the two databases with demo data, some of it drifted"),
    ("jobs repair --all --reason demo", "allowing the jobs to repair"),
    ("reconcile", "reconciling"),
)


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to start.

    `demo` fills a new data directory; `as_json` prints one object instead of the banner; with `lifeline` the end
    of standard input is a request to stop.
    """

    demo: bool = False
    as_json: bool = False
    lifeline: bool = False
    procfile: Path | None = None


class System:
    """One start of the embedded system in one data directory."""

    def __init__(self, directory: DataDirectory, given: Mapping[str, str], options: Options) -> None:
        self.options = options
        self.directory = directory
        # With --json standard output belongs to the one object.
        self.terminal = Terminal(sys.stderr if options.as_json else sys.stdout)
        self.records = Records(directory.folder("run"))
        self.supervisor = Supervisor(records=self.records, terminal=self.terminal)
        self._given = given

    async def up(self) -> None:
        """Start everything and run until a signal asks to stop."""
        await self.supervisor.run(self._run_all)

    async def stores(self) -> None:
        """Start the stores alone and run until a signal asks to stop."""
        await self.supervisor.run(self._run_stores)

    async def _run_all(self) -> None:
        started = time.monotonic()
        commands = read_procfile(self.options.procfile)
        plan = self._prepare(web_port=WEB_PORT_DEFAULT)
        self._settings(plan).check_service()
        if self.directory.is_new and self.options.demo:
            self.directory.mark(DEMO_PENDING)
        self.directory.write_env(plan.values)
        await self._start_stores(plan)
        async with self._logging(plan):
            await self._migrate(plan)
            operator = await self._operator(plan)
            await self._start_processes(plan, commands)
            self.terminal.say(f"ready after {time.monotonic() - started:.1f} s")
            self._announce(plan, banner(self.directory.path, plan.values, operator))
            if self.options.demo and self.directory.has(DEMO_PENDING):
                await self._run_demo(plan)
            await self._until_told()

    @asynccontextmanager
    async def _logging(self, plan: Plan) -> AsyncIterator[None]:
        """Log as `up`, to the log store alone: whoever watches is told by the terminal."""
        os.environ.update(self._environment(plan))
        read_settings.cache_clear()
        shipper = start_shipping("up", self._settings(plan), shown=False)
        log_start()
        try:
            yield
        finally:
            log_stop()
            await asyncio.to_thread(shipper.stop, LAST_ENTRIES_SECONDS)

    async def _run_stores(self) -> None:
        plan = self._prepare(web_port=None)
        await self._start_stores(plan)
        # Written last: whoever waits for the file finds stores that answer.
        self.directory.write_env(plan.values)
        self._announce(plan, f"the stores are ready; their URLs are in {self.directory.env_file}")
        await self._until_told()

    def _prepare(self, *, web_port: int | None) -> Plan:
        for name in self.records.end_orphans():
            self.terminal.say(f"ended {name}, which an earlier run had left behind")
        plan = make_plan(self._given, self.directory.read_env(), web_port=web_port)
        self._settings(plan)  # an unknown or invalid value is told before anything starts
        return plan

    async def _start_stores(self, plan: Plan) -> None:
        stores = [await self._store(plan, name, port) for name, port in plan.ports.items()]
        children = self.supervisor.start(*(store.command for store in stores))
        await asyncio.gather(*map(self._store_ready, stores, children))
        if "postgresql" in plan.ports:
            await servers.create_databases(plan.ports["postgresql"])

    async def _store(self, plan: Plan, name: str, port: int) -> Store:
        if name == "postgresql":
            return await servers.postgres(self.directory, port, self.supervisor)
        if name == "secantus":
            return servers.secantus(self.directory, port)
        if name == MAILBOX:
            return servers.mailbox(self.directory, port)
        passwords = plan.audit_passwords if name == "audit" else None
        return servers.valkey(self.directory, name, port, passwords)

    async def _store_ready(self, store: Store, child: Child) -> None:
        seconds = await wait_ready(child, store.probe)
        self.terminal.say(f"{store.title} answers on port {store.port} after {seconds:.1f} s")

    async def _migrate(self, plan: Plan) -> None:
        from app.accounts.bootstrap import ensure_client
        from app.accounts.permissions import Scope
        from app.notifications.templates.installing import ensure_shipped
        from app.stores.migrate import create_foreign_schemas, migrate

        settings = self._settings(plan)
        applied = await migrate(settings)
        await ensure_shipped(settings)
        if plan.owns_foreign_databases:
            await create_foreign_schemas(settings)
        if plan.own_client and settings.client_secret:
            await ensure_client(
                settings, settings.client_id, settings.client_secret.get_secret_value(), Scope
            )
        self.terminal.say(f"migrated: {', '.join(applied) if applied else 'nothing to do'}")

    async def _operator(self, plan: Plan) -> Operator | None:
        return await ensure_operator(self._settings(plan), self.directory) if plan.makes_operator else None

    def _settings(self, plan: Plan) -> Settings:
        return parse_settings({**plan.values, f"{PREFIX}DATA_DIR": str(self.directory.path)})

    async def _start_processes(self, plan: Plan, commands: Mapping[str, str]) -> None:
        children: dict[str, Child] = {}
        for name in sorted(commands, key=_stop_rank, reverse=True):
            (children[name],) = self.supervisor.start(self._process(plan, name, commands[name]))
        if WEB in children:
            seconds = await wait_ready(children.pop(WEB), _HealthProbe(web_url(plan.values)))
            self.terminal.say(f"web answers after {seconds:.1f} s")
        for child in children.values():
            await wait_ready(child, _always)

    def _process(self, plan: Plan, name: str, command: str) -> Command:
        return Command(
            name=name,
            argv=("/bin/sh", "-c", command),
            environment=self._environment(plan) | plan.values_of(name),
            directory=repository_root(),
            log=self.directory.log_file(name),
            echo=True,
            grace_seconds=STOP_SECONDS.get(name, OTHER_STOP_SECONDS),
        )

    def _environment(self, plan: Plan) -> dict[str, str]:
        programs = str(Path(sys.executable).parent)
        return {
            **os.environ,
            **plan.values,
            f"{PREFIX}DATA_DIR": str(self.directory.path),
            "PATH": os.pathsep.join((programs, os.environ.get("PATH", os.defpath))),
            "PYTHONUNBUFFERED": "1",
        }

    async def _until_told(self) -> None:
        if self.options.lifeline:
            await _end_of(sys.stdin)
        else:
            await asyncio.Event().wait()

    def _announce(self, plan: Plan, text: str) -> None:
        if self.options.as_json:
            values = {**plan.told(), f"{PREFIX}DATA_DIR": str(self.directory.path)}
            answer = {name.removeprefix(PREFIX).lower(): value for name, value in sorted(values.items())}
            sys.stdout.write(json.dumps(answer | {"web_url": web_url(plan.values)}) + "\n")
            sys.stdout.flush()
        else:
            self.terminal.write(text)

    async def _run_demo(self, plan: Plan) -> None:
        if not plan.owns_foreign_databases:
            self.terminal.say("no demo data: the admin DB or the customer DB is not an embedded one")
            return
        self.terminal.muted = True
        try:
            for arguments, what in DEMO:
                await self._run_demo_step(plan, arguments, what)
            self.directory.rename_mark(DEMO_PENDING, DEMO_DONE)
        except EmbeddedError as error:
            self.terminal.say(str(error))
        finally:
            self.terminal.muted = False
        self.terminal.say(f"the system stays up: {web_url(plan.values)}; Ctrl-C stops it")

    async def _run_demo_step(self, plan: Plan, arguments: str, what: str) -> None:
        self.terminal.say(what)
        command = Command(
            name="demo",
            argv=(sys.executable, "-m", "app.cli.main", *arguments.split()),
            environment=self._environment(plan),
            directory=Path.cwd(),
            log=self.directory.log_file("demo"),
        )
        stdout = sys.stderr.fileno() if self.options.as_json else None
        code = await self.supervisor.run_guest(command, stdout=stdout)
        if code != 0:
            raise EmbeddedError(f"`astrocore {arguments}` failed with exit code {code}; the demo ends here")


class _HealthProbe:
    def __init__(self, url: str) -> None:
        self._url = f"{url}/health/ready"

    async def __call__(self) -> bool:
        try:
            # No proxy of the environment may stand between us and our own process.
            async with httpx.AsyncClient(timeout=PROBE_SECONDS, trust_env=False) as client:
                return (await client.get(self._url)).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False


async def _end_of(stream: TextIO) -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), stream)
    while await reader.read(1024):
        pass


async def _always() -> bool:
    """The probe of a process that shows no more than that it is alive."""
    return True


def _stop_rank(name: str) -> int:
    ranks = list(STOP_SECONDS)
    return ranks.index(name) if name in ranks else -1

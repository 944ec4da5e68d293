"""Pages of the audit as those who read it get them: from the web process of the Procfile, over a real port.

Each answer includes that the read is recorded, durably, unless the same was asked within ten minutes.
"""

import asyncio
import os
import random
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx

from app.accounts.bootstrap import ensure_client
from app.accounts.permissions import Scope
from app.cli.client import as_client
from app.embedded.procfile import read_procfile, repository_root
from app.pages import encode_cursor
from app.stores.migrate import create_foreign_schemas, migrate
from benchmarks.audit_entries import ACTORS, ENTITIES, Made
from config.settings import PREFIX, Settings

APP = "web.app:app"
"""What the web process of the Procfile serves."""
_READY_SECONDS = 30.0
_AUDIT, _CHANGES, _RECORDS = "/v1/audit", "/v1/reconciliation/changes", "/v1/reconciliation/records"


@asynccontextmanager
async def served(
    settings: Settings, extra: Mapping[str, str] | None = None, *, app: str = APP
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the web process, which runs as long as the block does, with these settings besides; it serves this `app`."""
    await migrate(settings)
    await create_foreign_schemas(settings)
    process = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", read_procfile()["web"].replace(APP, app), env={**environment_of(settings), **(extra or {})}, cwd=repository_root(),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    if settings.client_secret:
        await ensure_client(settings, settings.client_id, settings.client_secret.get_secret_value(), Scope)
    try:
        async with httpx.AsyncClient(
            base_url=f"http://{settings.web_host}:{settings.web_port}",
            auth=as_client(settings),
            timeout=_READY_SECONDS,
            trust_env=False,
        ) as client:
            await _until_ready(client)
            yield client
    finally:
        process.terminate()
        await process.wait()


def environment_of(settings: Settings) -> dict[str, str]:
    """The environment of a process of the system that these settings lead to."""
    programs = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    own = {"DATA_DIR": str(settings.data_dir), "MAPPINGS": settings.mappings or ""}
    own |= {"WEB_HOST": settings.web_host, "WEB_PORT": str(settings.web_port)}
    return {**os.environ, "PATH": programs, **{PREFIX + name: value for name, value in own.items()}}


async def _until_ready(client: httpx.AsyncClient) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        try:
            if (await client.get("/health/ready", auth=None)).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        await asyncio.sleep(0.1)
    raise TimeoutError("the web process does not answer")


def web_pages(
    client: httpx.AsyncClient, made: Made, limit: int
) -> dict[str, Callable[[], Awaitable[object]]]:
    """A page of each common query over HTTP; what it asks for is drawn anew every time."""

    def of(path: str, draw: Callable[[], dict[str, Any]]) -> Callable[[], Awaitable[object]]:
        async def page() -> object:
            answer = await client.get(path, params=draw() | {"limit": limit})
            answer.raise_for_status()
            return len(answer.content)

        return page

    def deep(**about: Any) -> dict[str, Any]:
        return about | {"cursor": encode_cursor(str(random.randint(1, made.count)))}

    def record() -> dict[str, str]:
        return {"entity": random.choice(ENTITIES), "id": random.choice(made.records)}

    def an_hour() -> dict[str, str]:
        instant = made.moment()
        return {"since": instant.isoformat(), "until": (instant + timedelta(hours=1)).isoformat()}

    async def story() -> object:
        answer = await client.get(f"{_RECORDS}/customers/{random.choice(made.records)}")
        answer.raise_for_status()
        return len(answer.content)

    def run() -> dict[str, str]:
        return {"run_id": str(random.choice(made.runs))}

    return {
        "GET /v1/audit": of(_AUDIT, deep),
        "GET /v1/audit of a record": of(_AUDIT, record),
        "GET /v1/audit of a run": of(_AUDIT, run),
        "GET /v1/audit of an actor": of(_AUDIT, lambda: deep(actor=random.choice(ACTORS))),
        "GET /v1/audit of an hour": of(_AUDIT, an_hour),
        "GET …/changes": of(_CHANGES, deep),
        "GET …/changes of an entity": of(_CHANGES, lambda: deep(entity=random.choice(ENTITIES))),
        "GET …/changes of a run": of(_CHANGES, run),
        "GET …/changes of a record": of(_CHANGES, record),
        "GET …/records/{entity}/{id}": story,
    }

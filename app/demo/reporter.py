"""Tell the Core API what changed, as the two other services do: batched, with patience, and not for ever."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from uuid import UUID

import httpx

from app.accounts.calling import CredentialsRefusedError
from app.demo.errors import DemoError

EVENTS = "/v1/reconciliation/events"
FLUSH_SECONDS = 0.1
BATCH = 500  # the Core API takes 1,000
PAUSES_SECONDS = (0.25, 0.5, 1.0, 2.0)  # between tries; then the events count as forgotten
TIMEOUT_SECONDS = 5.0
REFUSED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)

Changed = tuple[str, UUID]  # an entity and the id of one of its records


class Reporter:
    """Takes what changed and posts it ten times a second. `told` and `failed` count events."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self._waiting: list[dict[str, str]] = []
        self.told = 0
        self.failed = 0
        self.refusal: DemoError | None = None

    def tell(self, changed: list[Changed]) -> None:
        """Leave it to be told; answers at once."""
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._waiting += [{"entity": entity, "id": str(key), "occurred_at": at} for entity, key in changed]

    async def run(self) -> None:
        """Post for ever, until cancelled or refused."""
        while self.refusal is None:
            await asyncio.sleep(FLUSH_SECONDS)
            await self.flush()

    async def flush(self) -> None:
        """Post all that waits; returns once it was told or has failed."""
        while self._waiting and self.refusal is None:
            batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
            if await self._post(batch):
                self.told += len(batch)
            else:
                self.failed += len(batch)

    async def _post(self, batch: list[dict[str, str]]) -> bool:
        for pause in (*PAUSES_SECONDS, None):
            try:
                response = await self._http.post(EVENTS, json={"events": batch})
            except httpx.TransportError:
                response = None
            except CredentialsRefusedError:
                response = httpx.Response(HTTPStatus.UNAUTHORIZED)
            if response is not None and not self._come_again(response):
                return response.status_code == HTTPStatus.ACCEPTED
            if pause is not None:
                await asyncio.sleep(pause)
        return False

    def _come_again(self, response: httpx.Response) -> bool:
        """Whether the same request may succeed later; notes a refusal that every later one would meet."""
        if response.status_code in REFUSED:
            self.refusal = DemoError(
                "the Core API refuses the client",
                "set ASTROCORE_CLIENT_ID and ASTROCORE_CLIENT_SECRET to those of a client with reconciliation:event",
            )
        elif response.is_client_error and response.status_code != HTTPStatus.TOO_MANY_REQUESTS:
            self.refusal = DemoError(
                f"the Core API refuses events with {response.status_code}",
                "is it of the same version as this command?",
            )
        return response.is_server_error or response.status_code == HTTPStatus.TOO_MANY_REQUESTS


@asynccontextmanager
async def reporting(url: str, auth: httpx.Auth | None) -> AsyncIterator[Reporter]:
    """A reporter at work; at the end all that waits is told. Raises DemoError where no system answers at `url`."""
    # Proxies of the environment are for the outside world.
    async with httpx.AsyncClient(base_url=url, auth=auth, timeout=TIMEOUT_SECONDS, trust_env=False) as http:
        await _greet(http, url)
        reporter = Reporter(http)
        work = asyncio.create_task(reporter.run())
        try:
            yield reporter
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
        await reporter.flush()


async def _greet(http: httpx.AsyncClient, url: str) -> None:
    try:
        await http.get("/health/live", auth=None)
    except httpx.HTTPError as error:
        raise DemoError(
            f"no running system was found at {url}", "`astrocore up` starts one; --miss-rate 1 does without"
        ) from error

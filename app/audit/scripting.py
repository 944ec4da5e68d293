"""Calls of the scripts inside the audit store, and what its refusals mean."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from redis.asyncio import Redis
from redis.client import NEVER_DECODE
from redis.exceptions import (
    AuthenticationError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    RedisError,
    ResponseError,
)

from app.errors import StoreUnavailableError

Argument = str | bytes | int


class Script:
    """A script inside the audit store. It answers bytes: what is there may be no text."""

    def __init__(self, redis: Redis, source: str) -> None:
        self._redis = redis
        self._source = source
        self._sha = redis.register_script(source).sha

    async def __call__(self, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        """Run it; raises StoreUnavailableError."""
        with answers():
            try:
                return await self._run(keys, arguments)
            except NoScriptError:
                await self._redis.script_load(self._source)
                return await self._run(keys, arguments)

    async def _run(self, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        execute: Any = self._redis.execute_command
        return await execute("EVALSHA", self._sha, len(keys), *keys, *arguments, **{NEVER_DECODE: True})


@contextmanager
def answers() -> Iterator[None]:
    """What the audit store's driver raises becomes StoreUnavailableError, with the reason where it told one."""
    try:
        yield
    except (ResponseError, AuthenticationError) as error:
        raise StoreUnavailableError(f"the audit store {_refusal(error)}") from error
    except RedisError as error:
        # With `appendfsync always` a server that cannot write ends: it may acknowledge no more.
        raise StoreUnavailableError(
            "the audit store does not answer; it ends where its disk is full"
        ) from error


def _refusal(error: RedisError) -> str:
    if "MISCONF" in str(error):
        return "cannot write to its disk, which may be full"
    if str(error).startswith("LATE"):
        return "was too slow: nothing was appended"
    if isinstance(error, OutOfMemoryError):
        return "has no memory left"
    if isinstance(error, NoPermissionError):
        return "refuses, for its user lacks rights; `astrocore doctor` tells which"
    return "refuses; `astrocore doctor` tells why"

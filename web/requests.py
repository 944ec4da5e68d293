"""One id and one log line for every request, also for those that no route takes."""

import re
import time
import uuid
from http import HTTPStatus
from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from loguru import logger

from app.notifications.addresses.suppressing import PATH as UNSUBSCRIBE
from config.correlation import correlated, correlation_of

HEADER = b"x-request-id"
# What is answered is for who asked, now, and is what it says it is; whoever means otherwise says so.
SAFE: dict[bytes, bytes] = {b"cache-control": b"no-store", b"x-content-type-options": b"nosniff"}
TRACEPARENT = b"traceparent"
_SANE = re.compile(rb"[A-Za-z0-9._-]{1,128}")


def with_request_id(app: ASGIApp) -> ASGIApp:
    """Wrap an ASGI application: its answers bear X-Request-ID, its log entries that id and a trace, and each is logged.

    No answer is kept by a cache or taken for something else by a browser, unless it says so itself.

    The trace is the caller's where a sound `traceparent` (W3C Trace Context) came along.

    It goes around the application as a whole: a framework's middleware does not see the paths that it refuses.
    """

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        headers = scope["headers"]
        request_id = request_id_of(headers)
        with correlated(correlation_of(_traceparents(headers), request_id=request_id.decode())):
            await _serve(app, scope, receive, send, request_id)

    return serve


def request_id_of(headers: Any) -> bytes:
    """The caller's own id where it is sane, else a new one."""
    sent = next((value for name, value in headers if name.lower() == HEADER), b"")
    return sent if _SANE.fullmatch(sent) else str(uuid.uuid4()).encode()


def _traceparents(headers: Any) -> list[str]:
    return [value.decode("latin-1") for name, value in headers if name.lower() == TRACEPARENT]


async def _serve(app: ASGIApp, scope: Any, receive: Receive, send: Send, request_id: bytes) -> None:
    started = time.perf_counter()
    path, status = scope["path"], 500

    async def send_with_id(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
            given = [*message.get("headers", ()), (HEADER, request_id)]
            names = {name.lower() for name, _ in given}
            message["headers"] = [
                *given,
                *((name, value) for name, value in SAFE.items() if name not in names),
            ]
        await send(message)

    try:
        await app(scope, receive, send_with_id)
    finally:
        milliseconds = (time.perf_counter() - started) * 1000
        bound = logger.bind(
            method=scope["method"], path=_shown(path), status=status, outcome=_outcome(status)
        )
        # Probes come every few seconds and would drown the rest.
        bound.bind(duration_ms=milliseconds).log(
            "DEBUG" if path.startswith("/health/") else "INFO", "request.served"
        )


def _shown(path: str) -> str:
    """The path without what lets whoever reads it do something in another's name."""
    return f"{UNSUBSCRIBE}[redacted]" if path.startswith(UNSUBSCRIBE) else path


def _outcome(status: int) -> str:
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return "failed"
    return "refused" if status >= HTTPStatus.BAD_REQUEST else "done"

"""One id and one log line for every request, also for those that no route takes."""

import re
import time
import uuid
from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from loguru import logger

HEADER = b"x-request-id"
_SANE = re.compile(rb"[A-Za-z0-9._-]{1,128}")


def with_request_id(app: ASGIApp) -> ASGIApp:
    """Wrap an ASGI application: its answers bear X-Request-ID, its log entries `request_id`, and each is logged.

    It goes around the application as a whole: a framework's middleware does not see the paths that it refuses.
    """

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        request_id = request_id_of(scope["headers"])
        with logger.contextualize(request_id=request_id.decode()):
            await _serve(app, scope, receive, send, request_id)

    return serve


def request_id_of(headers: Any) -> bytes:
    """The caller's own id where it is sane, else a new one."""
    sent = next((value for name, value in headers if name.lower() == HEADER), b"")
    return sent if _SANE.fullmatch(sent) else str(uuid.uuid4()).encode()


async def _serve(app: ASGIApp, scope: Any, receive: Receive, send: Send, request_id: bytes) -> None:
    started = time.perf_counter()
    path, status = scope["path"], 500

    async def send_with_id(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
            message["headers"] = [*message.get("headers", ()), (HEADER, request_id)]
        await send(message)

    try:
        await app(scope, receive, send_with_id)
    finally:
        milliseconds = round((time.perf_counter() - started) * 1000, 1)
        bound = logger.bind(method=scope["method"], path=path, status=status, milliseconds=milliseconds)
        # Probes come every few seconds and would drown the rest.
        bound.log("DEBUG" if path.startswith("/health/") else "INFO", "request.served")

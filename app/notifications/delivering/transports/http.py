"""Mail by HTTP: posted as JSON to a service that takes it once per Idempotency-Key. docs/notifications.md has the contract."""

import asyncio
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any

import httpx
import msgspec
from msgspec import Struct

from app.clock import now
from app.notifications.delivering.transports.transport import (
    LONGEST_AFTER,
    AboutTo,
    Accepted,
    Handed,
    Mail,
    Refused,
    Retry,
    Unknown,
    told,
)
from config.settings import Settings

# The trace of httpcore, by way of httpx: there is a connection, and the first byte of the request is about to go.
_FIRST_BYTE = "http11.send_request_headers.started"
MOST_BYTES = 64 * 1024  # of an answer; what comes after is not read

# It would be answered so whatever the mail is like: for who we are, where we post to, and how.
_OUR_FAULT = {401, 403, 404, 405, 407}
_LATER = {408, 409, 425, 429}
# Another request with this key is under way: that says nothing about other mails.
_UNDER_WAY = 409
# Of what goes wrong with a service, what says that it has done nothing.
_UNAVAILABLE = 503
_FINE, _REFUSED, _WENT_WRONG = range(200, 300), range(400, 500), range(500, 600)


class _Answer(Struct):
    """What the service may say, beside the status."""

    id: str | None = None
    detail: str | None = None
    hard_bounce: bool = False


class Composed(Struct, frozen=True):
    """The body of a request, and the key under which the service takes it once."""

    key: str
    content: bytes


class HttpTransport:
    """Posts mail to the URL of the settings."""

    name = "http"

    def __init__(self, settings: Settings) -> None:
        seconds, most = settings.notification_timeout_seconds, settings.notification_connections
        token = settings.notification_http_token
        self.dedupes = settings.notification_http_dedupes
        self._url = settings.notification_http_url or ""
        # Who waits for room does not wait for the service.
        self._room = asyncio.Semaphore(most)
        # Connecting and sending take the first of the two times, the answer the second.
        self._longest = 2 * seconds
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {token.get_secret_value()}"} if token else {},
            timeout=httpx.Timeout(seconds),
            limits=httpx.Limits(max_connections=most, max_keepalive_connections=most),
        )

    def compose(self, mail: Mail) -> Composed:
        """See `Transport`."""
        return Composed(mail.key, msgspec.json.encode(_body(mail)))

    async def hand_over(self, composed: Composed, *, about_to: AboutTo) -> Handed:
        """See `Transport`."""
        post = _Post(self._client, self._url, about_to, dedupes=self.dedupes)
        async with self._room:
            return await post.run(composed, self._longest)

    async def close(self) -> None:
        """See `Transport`."""
        await self._client.aclose()


class _Post:
    """One request: whether any of it has gone, and what came back."""

    def __init__(self, client: httpx.AsyncClient, url: str, about_to: AboutTo, *, dedupes: bool) -> None:
        self._client = client
        self._url = url
        self._about_to = about_to
        self._dedupes = dedupes
        self._sent = False
        self._objection: Exception | None = None
        self._response: httpx.Response | None = None
        self._content = b""

    async def run(self, composed: Composed, seconds: float) -> Handed:
        try:
            async with asyncio.timeout(seconds):
                await self._exchange(composed)
        except (httpx.HTTPError, TimeoutError) as error:
            if self._objection:
                raise self._objection from None
            if self._response is None:
                return self._unanswered(told(str(error)) or type(error).__name__)
        assert self._response is not None
        return self._judged(self._response)

    async def _exchange(self, composed: Composed) -> None:
        async with self._client.stream(
            "POST",
            self._url,
            content=composed.content,
            headers={
                "Content-Type": "application/json",
                "Accept-Encoding": "identity",
                "Idempotency-Key": f'"{composed.key}"',  # a string of RFC 9651, as the draft has it
            },
            extensions={"trace": self._trace},
        ) as self._response:
            async for chunk in self._response.aiter_raw():
                self._content += chunk
                if len(self._content) > MOST_BYTES:
                    break

    async def _trace(self, event: str, _info: dict[str, Any]) -> None:
        if event == _FIRST_BYTE:
            try:
                await self._about_to()
            except Exception as error:
                self._objection = error
                raise
            self._sent = True

    def _unanswered(self, why: str) -> Retry | Unknown:
        if self._sent and not self._dedupes:
            return Unknown("connection", why)
        return Retry("connection", why, doubtful=self._sent)

    def _judged(self, response: httpx.Response) -> Handed:
        status, answer = response.status_code, _read(self._content)
        code, detail = str(status), told(answer.detail or response.reason_phrase)
        if status in _FINE:
            return Accepted(provider_id=told(answer.id) if answer.id else None, detail=detail)
        if status in _REFUSED and status not in _OUR_FAULT | _LATER:
            return Refused(code, detail, hard_bounce=answer.hard_bounce)
        if not self._dedupes and status in _WENT_WRONG and status != _UNAVAILABLE:
            return Unknown(code, detail)
        after = seconds_of(response.headers.get("Retry-After"), now())
        doubtful = self._dedupes and (
            status == _UNDER_WAY or (status in _WENT_WRONG and status != _UNAVAILABLE)
        )
        return Retry(code, detail, after, of_service=status != _UNDER_WAY, doubtful=doubtful)


def seconds_of(retry_after: str | None, at: datetime) -> float | None:
    """How long a Retry-After (RFC 9110, section 10.2.3) asks to wait, at most LONGEST_AFTER; None: it does not say."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), LONGEST_AFTER)
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return min(max((date - at).total_seconds(), 0.0), LONGEST_AFTER)


def _body(mail: Mail) -> dict[str, Any]:
    return {
        "id": mail.id,
        "from": mail.sender,
        "to": mail.to,
        "subject": mail.subject,
        "text": mail.text,
        "html": mail.html,
        "headers": {
            "Message-ID": mail.message_id,
            "Date": format_datetime(mail.date),
            "Auto-Submitted": "auto-generated",  # RFC 3834
            **mail.headers,
        },
        "priority": mail.priority,
    }


def _read(content: bytes) -> _Answer:
    try:
        return msgspec.json.decode(content, type=_Answer)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _Answer()

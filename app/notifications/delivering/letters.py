"""The mail of a notification, as it is handed over: the same, word for word, in every attempt."""

import asyncio

import msgspec

from app.accounts.encryption import Safe
from app.errors import NotFoundError
from app.notifications.addresses.suppressing import Unsubscribing
from app.notifications.delivering.claiming import Claim
from app.notifications.delivering.transports.transport import Mail
from app.notifications.templates.catalogue import load_version
from app.notifications.templates.content import Content, Kind
from app.notifications.templates.rendering import Rendered, RenderingError, render
from app.stores.connections import Stores


class UnwritableError(Exception):
    """The mail cannot be written, however often it is tried; the message says why, and quotes no data."""


class LockedError(Exception):
    """The mail cannot be written here, by whoever does not have the key; the message quotes no data."""


class Letters:
    """Writes mails. `sender` is an address, or NAME <ADDRESS>; `domain` is the right-hand side of every Message-ID."""

    def __init__(self, stores: Stores, safe: Safe, unsubscribing: Unsubscribing, *, sender: str) -> None:
        self._stores = stores
        self._safe = safe
        self._unsubscribing = unsubscribing
        self._sender = sender
        self._domain = sender.rstrip("> ").rpartition("@")[2]
        self._contents: dict[tuple[str, int], Content] = {}

    async def write(self, claim: Claim) -> Mail:
        """The mail. Raises UnwritableError where it cannot be written, however often it is tried, and LockedError."""
        try:
            return await self._written(claim)
        except RenderingError as error:
            raise UnwritableError(
                "; ".join(f"{each.where}: {each.message}" for each in error.faults)
            ) from error
        except NotFoundError as error:
            raise UnwritableError(str(error)) from error

    async def _written(self, claim: Claim) -> Mail:
        row, name = claim.row, str(claim.id)
        url = self._unsubscribing.url_of(claim.id) if Kind(row["kind"]) in UNSUBSCRIBABLE else None
        letter = self._kept(claim) or await self._rendered(claim, url)
        return Mail(
            id=name,
            key=name,
            message_id=f"<{name}@{self._domain}>",
            date=row["send_at"],
            sender=self._sender,
            to=row["email"],
            subject=letter.subject,
            text=letter.text,
            html=letter.html,
            headers=self._unsubscribing.headers_of(url) if url else {},
            priority=row["priority"],
        )

    @staticmethod
    def shown(claim: Claim, mail: Mail) -> Rendered | None:
        """What may be kept and shown of what the mail says; mails about accounts hold secrets."""
        if Kind(claim.row["kind"]) is Kind.SECURITY:
            return None
        return Rendered(claim.row["locale"], mail.subject, mail.text, mail.html or "")

    @staticmethod
    def _kept(claim: Claim) -> Rendered | None:
        """What an earlier attempt has handed over."""
        row = claim.row
        if row["subject"] is None:
            return None
        return Rendered(row["locale"], row["subject"], row["body_text"], row["body_html"])

    async def _rendered(self, claim: Claim, url: str | None) -> Rendered:
        row, data = claim.row, self._data(claim)
        content = await self._content(row["template"], row["template_version"])
        return await asyncio.to_thread(render, content, data, locale=row["locale"], unsubscribe_url=url)

    async def _content(self, template: str, version: int) -> Content:
        """A version never changes."""
        if (template, version) not in self._contents:
            loaded = await load_version(self._stores.core, template, version)
            if len(self._contents) >= _MOST_CONTENTS:
                self._contents.clear()
            self._contents[template, version] = loaded.content
        return self._contents[template, version]

    def _data(self, claim: Claim) -> dict[str, object]:
        row = claim.row
        if row["data"] is None and row["locked_data"] is None:
            raise UnwritableError("what it was to be filled with is erased")
        try:
            held = row["data"] or self._safe.open(row["locked_data"], place=place_of(row["email_key"]))
            data: dict[str, object] = msgspec.json.decode(held)
        except ValueError as error:
            raise LockedError(
                "what it was to be filled with cannot be opened with the keys that are set"
            ) from error
        return data


_MOST_CONTENTS = 100
UNSUBSCRIBABLE = frozenset({Kind.ALERT, Kind.DIGEST})


def place_of(email_key: str) -> str:
    """Where the data of a mail about somebody's account are locked, see `Safe`."""
    return f"notifications/{email_key}"

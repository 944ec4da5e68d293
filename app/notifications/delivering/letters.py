"""The mail of a notification, as it is handed over: the same, word for word, in every attempt."""

import asyncio
from collections.abc import Mapping, Sequence

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


_Version = tuple[str, int]


class Letters:
    """Writes mails. `sender` is an address, or NAME <ADDRESS>; `domain` is the right-hand side of every Message-ID."""

    def __init__(self, stores: Stores, safe: Safe, unsubscribing: Unsubscribing, *, sender: str) -> None:
        self._stores = stores
        self._safe = safe
        self._unsubscribing = unsubscribing
        self._sender = sender
        self._domain = sender.rstrip("> ").rpartition("@")[2]
        self._contents: dict[_Version, Content] = {}

    async def write(self, claims: Sequence[Claim]) -> list[Mail | Exception]:
        """The mails. For each that cannot be written why: UnwritableError, however often it is tried, or LockedError."""
        contents = {version: await self._content(*version) for version in set(map(_version_of, claims))}
        # All at once: the way to another thread and back is a good part of what a mail costs.
        return await asyncio.to_thread(lambda: [self._tried(each, contents) for each in claims])

    def _tried(self, claim: Claim, contents: Mapping[_Version, Content | Exception]) -> Mail | Exception:
        try:
            return self._written(claim, contents)
        except RenderingError as error:
            return UnwritableError("; ".join(f"{each.where}: {each.message}" for each in error.faults))
        except Exception as error:  # noqa: BLE001  (one mail must not hold up the others)
            return error

    def _written(self, claim: Claim, contents: Mapping[_Version, Content | Exception]) -> Mail:
        row, name = claim.row, str(claim.id)
        url = self._unsubscribing.url_of(claim.id) if Kind(row["kind"]) in UNSUBSCRIBABLE else None
        letter = self._kept(claim) or self._rendered(claim, contents, url)
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

    def _rendered(
        self, claim: Claim, contents: Mapping[_Version, Content | Exception], url: str | None
    ) -> Rendered:
        template, version = _version_of(claim)
        content = contents[template, version]
        if isinstance(content, Exception):
            raise content
        return render(content, self._data(claim), locale=claim.row["locale"], unsubscribe_url=url)

    async def _content(self, template: str, version: int) -> Content | Exception:
        """What a version says, which never changes; or why nobody can tell, which keeps no mail of another one from going."""
        if (template, version) not in self._contents:
            try:
                loaded = await load_version(self._stores.core, template, version)
            except NotFoundError:
                return UnwritableError(f"no version {version} of a template {template}")
            except ValueError as error:  # written by a later release, which comes again
                return error
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


def _version_of(claim: Claim) -> _Version:
    return claim.row["template"], claim.row["template_version"]


_MOST_CONTENTS = 100
UNSUBSCRIBABLE = frozenset({Kind.ALERT, Kind.DIGEST})


def place_of(email_key: str) -> str:
    """Where the data of a mail about somebody's account are locked, see `Safe`."""
    return f"notifications/{email_key}"

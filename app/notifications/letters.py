"""The mail of a notification, as it is handed over: the same, word for word, in every attempt."""

import msgspec

from app.accounts.encryption import Safe
from app.notifications.claiming import Claim
from app.notifications.content import Kind
from app.notifications.rendering import Rendered, render
from app.notifications.suppressing import Unsubscribing
from app.notifications.templates import load_version
from app.notifications.transports.transport import Mail
from app.stores.connections import Stores


class Letters:
    """Writes mails. `sender` is an address, or NAME <ADDRESS>; `domain` is the right-hand side of every Message-ID."""

    def __init__(self, stores: Stores, safe: Safe, unsubscribing: Unsubscribing, *, sender: str) -> None:
        self._stores = stores
        self._safe = safe
        self._unsubscribing = unsubscribing
        self._sender = sender
        self._domain = sender.rstrip("> ").rpartition("@")[2]

    async def write(self, claim: Claim) -> Mail:
        """The mail; raises RenderingError where its template cannot be filled in."""
        row, name = claim.row, str(claim.id)
        url = self._unsubscribing.url_of(claim.id) if Kind(row["kind"]) in UNSUBSCRIBABLE else None
        letter = self._kept(claim) or await self._rendered(claim, url)
        return Mail(
            id=name,
            key=name,
            message_id=f"<{name}@{self._domain}>",
            date=row["created_at"],
            sender=self._sender,
            to=row["email"],
            subject=letter.subject,
            text=letter.text,
            html=letter.html,
            headers=self._unsubscribing.headers_of(url) if url else {},
            priority=row["priority"],
        )

    @staticmethod
    def is_shown(claim: Claim) -> bool:
        """Whether what the mail says may be kept and shown; mails about accounts hold secrets."""
        return Kind(claim.row["kind"]) is not Kind.SECURITY

    @staticmethod
    def _kept(claim: Claim) -> Rendered | None:
        """What an earlier attempt has handed over."""
        row = claim.row
        if row["subject"] is None:
            return None
        return Rendered(row["locale"], row["subject"], row["body_text"], row["body_html"])

    async def _rendered(self, claim: Claim, url: str | None) -> Rendered:
        row = claim.row
        version = await load_version(self._stores.core, row["template"], row["template_version"])
        return render(version.content, self._data(claim), locale=row["locale"], unsubscribe_url=url)

    def _data(self, claim: Claim) -> dict[str, object]:
        row = claim.row
        held = (
            row["data"]
            if row["data"] is not None
            else self._safe.open(row["locked_data"], place=place_of(row["email_key"]))
        )
        data: dict[str, object] = msgspec.json.decode(held)
        return data


UNSUBSCRIBABLE = frozenset({Kind.ALERT, Kind.DIGEST})


def place_of(email_key: str) -> str:
    """Where the data of a mail about somebody's account are locked, see `Safe`."""
    return f"notifications/{email_key}"

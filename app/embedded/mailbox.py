"""The mail that an embedded system has sent: a folder of messages, each a file, which mail programs open (RFC 5322).

The server that takes the mail writes them, and anybody may read. Only the newest are kept.
"""

import os
import re
import secrets
from datetime import UTC, datetime
from email.headerregistry import HeaderRegistry
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from pathlib import Path

from msgspec import Struct

from config.settings import Settings

FOLDER = "mailbox"
MOST_MESSAGES = 1000
_ENDING, _UNFINISHED = ".eml", ".new"
_NAME = re.compile(r"(?P<at>\d{8}T\d{12})-[0-9a-f]{8}\.eml")
# Any process of the machine may hand in what has no form: headers are shown as the texts that they are.
_AS_TEXT = HeaderRegistry(use_default_map=False)
_FOLD = re.compile(r"[\r\n]")
_FORM = "%Y%m%dT%H%M%S%f"


class Received(Struct, frozen=True):
    """A message in the mailbox: `id` names it, `to` are those whom it was sent to."""

    id: str
    at: datetime
    sender: str
    to: list[str]
    subject: str


class Message(Struct, frozen=True):
    """A message with what is in it."""

    received: Received
    headers: list[tuple[str, str]]
    text: str | None
    html: str | None


class Mailbox:
    """The messages below one folder, the newest last. It may be read while it is written to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def below(cls, data_dir: Path) -> "Mailbox":
        """That of the embedded system in a data directory."""
        return cls(data_dir / FOLDER)

    @classmethod
    def of(cls, settings: Settings) -> "Mailbox | None":
        """That of the system with these settings; None where it is no embedded one, or its mail goes elsewhere."""
        mailbox = cls.below(settings.data_dir)
        return mailbox if settings.environment == "embedded" and mailbox.folder.is_dir() else None

    def keep(self, content: bytes, at: datetime) -> str:
        """Write a message to the disk, as a whole or not at all, and give up the oldest ones; answers its id."""
        name = f"{at.astimezone(UTC):{_FORM}}-{secrets.token_hex(4)}{_ENDING}"
        unfinished = self.folder / f"{name}{_UNFINISHED}"
        with unfinished.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(self.folder / name)
        for old in self._names()[:-MOST_MESSAGES]:
            (self.folder / old).unlink(missing_ok=True)
        return name.removesuffix(_ENDING)

    def tidy(self) -> None:
        """Remove what a writer that was killed has left behind; nobody may be writing."""
        for unfinished in self.folder.glob(f"*{_UNFINISHED}"):
            unfinished.unlink()

    def latest(self, most: int) -> list[Received]:
        """The newest messages, the newest first."""
        found = (self._parsed(name) for name in reversed(self._names()[-most:]))
        return [_received(name, message) for name, message in found if message]

    def message(self, message_id: str) -> Message | None:
        """The message with this id; None where there is none any more."""
        name = f"{message_id}{_ENDING}"
        _, message = self._parsed(name) if _NAME.fullmatch(name) else (name, None)
        if message is None:
            return None
        return Message(
            _received(name, message), _headers(message), _body(message, "plain"), _body(message, "html")
        )

    def clear(self) -> int:
        """Give up every message; answers how many there were."""
        names = self._names()
        for name in names:
            (self.folder / name).unlink(missing_ok=True)
        return len(names)

    def _names(self) -> list[str]:
        try:
            return sorted(each.name for each in os.scandir(self.folder) if _NAME.fullmatch(each.name))
        except FileNotFoundError:
            return []

    def _parsed(self, name: str) -> tuple[str, EmailMessage | None]:
        try:
            content = (self.folder / name).read_bytes()
        except FileNotFoundError:
            return name, None
        message = BytesParser(policy=default).parsebytes(content)
        assert isinstance(message, EmailMessage)
        return name, message


def _received(name: str, message: EmailMessage) -> Received:
    match = _NAME.fullmatch(name)
    assert match
    return Received(
        id=name.removesuffix(_ENDING),
        at=datetime.strptime(match["at"], _FORM).replace(tzinfo=UTC),
        sender=next(iter(_headers(message, "from")), ("", ""))[1],
        to=[value for _, value in _headers(message, "delivered-to")],
        subject=next(iter(_headers(message, "subject")), ("", ""))[1],
    )


def _headers(message: EmailMessage, name: str | None = None) -> list[tuple[str, str]]:
    """The headers in their order, or those of this name, each in one line."""
    return [
        (header, " ".join(str(_AS_TEXT(header, _FOLD.sub("", value))).split()))
        for header, value in message.raw_items()
        if name in (None, header.lower())
    ]


def _body(message: EmailMessage, kind: str) -> str | None:
    try:
        part = message.get_body((kind,))
        content = part.get_content() if part else None
    except Exception:  # noqa: BLE001  (what is no MIME, or in no charset, raises nearly anything)
        return None
    return content.replace("\r\n", "\n") if isinstance(content, str) else None

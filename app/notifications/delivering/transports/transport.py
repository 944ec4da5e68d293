"""What every transport promises, and how a hand-over may end."""

import re
import unicodedata
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Protocol

from msgspec import Struct, structs

AboutTo = Callable[[], Awaitable[None]]

LONGEST_DETAIL = 500
# Each begins where a word does: what is looked at is as long as a service likes.
_LINK = re.compile(r"(?<!\S)\S*://\S*")
_TOKEN = re.compile(r"acl_[\w-]+")
_ADDRESS = re.compile(r"(?<![^\s<>\"'()])[^\s<>\"'()]+(?:[@\uff20\ufe6b]|%40)[^\s<>\"'()]*", re.IGNORECASE)
_ENHANCED = re.compile(r"\b[245]\.\d{1,3}\.\d{1,3}\b")  # RFC 3463


class Mail(Struct, frozen=True, kw_only=True):
    """A mail to one recipient, rendered.

    `key` is the same in every try that must not end in a second mail, `message_id` (`<ID@DOMAIN>`, RFC 5322) and `date` in
    all tries. `sender` is an address or NAME <ADDRESS>, `to` an address. `headers` are further ones, such as
    `List-Unsubscribe`. `priority` is 0 (first) to 5.
    """

    id: str
    key: str
    message_id: str
    date: datetime
    sender: str
    to: str
    subject: str
    text: str
    html: str | None = None
    headers: dict[str, str] = {}
    priority: int = 3


class Accepted(Struct, frozen=True, tag="accepted"):
    """The service has taken the mail. `provider_id` is its own id of it, where it told one, `detail` what else it said."""

    provider_id: str | None = None
    detail: str | None = None


class Refused(Struct, frozen=True, tag="refused"):
    """The service will never take this mail. After a hard bounce the address is no good for any other mail either.

    With the code UNTRIED the service was not even asked: nobody could take the mail as it is.
    """

    code: str
    detail: str
    hard_bounce: bool = False


class Retry(Struct, frozen=True, tag="retry"):
    """The service has not taken the mail now, or takes it once however often it is told: try again.

    `after` is how many seconds it asks to be left alone, at most `LONGEST_AFTER`. `of_service`: the trouble is the service's
    or ours with it, so that other mails meet it too; it is what opens a circuit. `doubtful`: it may have taken the mail
    nevertheless, so that the mail cannot be taken back any more.
    """

    code: str
    detail: str
    after: float | None = None
    of_service: bool = True
    doubtful: bool = False


class Unknown(Struct, frozen=True, tag="unknown"):
    """The service may have taken the mail, and would take it again: nobody but an operator may try again."""

    code: str
    detail: str


Handed = Accepted | Refused | Retry | Unknown

UNTRIED, UNWRITABLE = "unfit", "template"
"""Codes of mails that are turned down here: the provider is not shown them."""
LONGEST_AFTER = 24 * 3600.0  # seconds


class MailUnfitError(Exception):
    """The mail cannot be put into the form that the service takes; the message says what is wrong, without addresses."""


class Transport(Protocol):
    """A way to hand mail over. It may be used by many tasks of one event loop at once."""

    @property
    def name(self) -> str:
        """`smtp` or `http`: the name of its circuit and of its pace."""
        ...

    @property
    def dedupes(self) -> bool:
        """Whether the service takes a mail once, however often it is handed over under one key."""
        ...

    def compose(self, mail: Mail) -> Any:
        """The mail in the form in which the service takes it, for `hand_over`. Raises MailUnfitError."""
        ...

    async def hand_over(self, composed: Any, *, about_to: AboutTo) -> Handed:
        """Hand a mail over that is composed, and say how that ended.

        `about_to` is awaited once, at the last moment before the service may take the mail: whoever dies before it has
        returned has certainly not sent it. What it raises is raised, and then nothing was sent. It is not awaited where
        the mail is turned down earlier. Once a connection is free it takes at most three times the time-out of the settings, and
        what `about_to` takes.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


def told(text: str) -> str:
    """What a service said, fit to be kept and shown: in one line, not too long, without addresses, and without links and tokens.

    Whoever turns a mail down for what is in it quotes that.
    """
    line = " ".join("".join(map(_shown, text)).split())
    kept = _ADDRESS.sub("[address]", _TOKEN.sub("[token]", _LINK.sub("[link]", line)))
    return kept[:LONGEST_DETAIL].rstrip()


def _shown(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Cf":
        return ""
    return " " if category[0] == "C" else character


def withheld(detail: str) -> str:
    """What is kept of what a service said about a mail that holds a secret: its enhanced code (RFC 3463)."""
    code = _ENHANCED.search(detail)
    return f"{code[0]} [withheld]" if code else "[withheld]"


def discreet(handed: Handed) -> Handed:
    """How the hand-over of a mail that holds a secret ended, without what the service said of it in words."""
    if handed.detail is None or not (isinstance(handed, Accepted) or handed.code.isdigit()):
        return handed
    return structs.replace(handed, detail=withheld(handed.detail))

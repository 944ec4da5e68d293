"""What a version of a template holds."""

from enum import StrEnum
from hashlib import sha256
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

MOST_SUBJECT = 500
MOST_SOURCE = 65_536
"""Characters of a text or HTML part before anything is filled in."""


class Kind(StrEnum):
    """What a mail is about, which decides who may do without it."""

    SECURITY = "security"
    """Somebody's account. Nobody can unsubscribe, and what it was filled with is a secret."""
    BOOKING = "booking"
    """A booking, a launch or an invoice that the recipient has a part in. Nobody can unsubscribe."""
    ALERT = "alert"
    """News that somebody asked for, and may unsubscribe from."""
    DIGEST = "digest"
    """A summary at regular times. The recipient may unsubscribe."""
    OPERATIONS = "operations"
    """For those who run the service."""


OURS = frozenset({Kind.SECURITY, Kind.OPERATIONS})
"""What this service sends by itself. Nobody else asks for such mail, and only operators decide about it."""


class Texts(Struct, frozen=True, forbid_unknown_fields=True):
    """A mail in one language, in the language of templates (see `app.notifications.templates.language`)."""

    subject: Annotated[str, Meta(min_length=1, max_length=MOST_SUBJECT)]
    text: Annotated[str, Meta(min_length=1, max_length=MOST_SOURCE)]
    html: Annotated[str, Meta(min_length=1, max_length=MOST_SOURCE)]


class Content(Struct, frozen=True):
    """What its data must be like (JSON Schema 2020-12), the mail in each language, and data to show it with."""

    schema: dict[str, Any]
    locales: dict[str, Texts]
    sample: dict[str, Any]

    def digest(self) -> str:
        """Equal for equal contents, in hexadecimal digits."""
        return sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()

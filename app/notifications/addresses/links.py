"""Links that are in mails, as the settings want them: to end mails, and to prove who one is."""

import hmac
from hashlib import sha256
from uuid import UUID

from app.accounts.mails import Purpose
from app.errors import NotFoundError
from app.notifications.addresses.suppressing import Unsubscribing
from config.settings import Settings

_KEYS = "encryption_keys"
_LABEL = b"links to unsubscribe"


def unsubscribing_of(settings: Settings) -> Unsubscribing:
    """Makes links to unsubscribe. Raises SettingsError where secrets are missing."""
    return _unsubscribing(settings, settings.current_key(_KEYS))


def read_unsubscribe_token(settings: Settings, token: str) -> UUID:
    """The notification whose link this is, under whichever of our keys it was made; raises NotFoundError."""
    for name in settings.keys(_KEYS):
        try:
            return _unsubscribing(settings, name).read(token)
        except NotFoundError as error:
            refused = error
    raise refused


def account_link(settings: Settings, purpose: Purpose, token: str) -> str:
    """Where a user sets a password, or proves an address."""
    url = settings.account_link_url or f"{settings.issuer_url}/console/{{purpose}}?token={{token}}"
    return url.replace("{purpose}", purpose).replace("{token}", token)


def _unsubscribing(settings: Settings, name: str) -> Unsubscribing:
    # A key for each use: what is told of one tells nothing of the other.
    key = hmac.digest(settings.keys(_KEYS)[name], _LABEL, sha256)
    return Unsubscribing(settings.issuer_url, key)

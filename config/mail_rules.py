"""What the settings of mail have to be like together: nothing that is in a mail crosses a network in clear."""

from __future__ import annotations

from email.utils import parseaddr
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from config.hosts import is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator

    from config.settings import Settings

MAIL_NEEDS = {
    "smtp": ("notification_from", "notification_smtp_host"),
    "http": (
        "notification_from",
        "notification_http_url",
        "notification_http_token",
        "notification_callback_secrets",
    ),
}
"""By transport: the settings without which production does not start."""

LEAST_SECRET = 32  # characters
MOST_SECRETS = 2


def fault_of_mail(settings: Settings) -> str | None:
    """The first thing that is wrong with the settings of mail, in words that name the variable; None: nothing is."""
    return next(_faults(settings), None)


def _faults(settings: Settings) -> Iterator[str]:
    if settings.notification_from is not None and not _is_mailbox(settings.notification_from):
        yield "ASTROCORE_NOTIFICATION_FROM is no address, and not NAME <ADDRESS> either"
    secrets = settings.notification_callback_secrets
    if secrets and not _are_secrets(secrets.get_secret_value().split(",")):
        yield (
            "ASTROCORE_NOTIFICATION_CALLBACK_SECRETS has one or two secrets, comma-separated, of at least "
            f"{LEAST_SECRET} characters each"
        )
    if bool(settings.notification_smtp_user) != (settings.notification_smtp_password is not None):
        yield "ASTROCORE_NOTIFICATION_SMTP_USER and ASTROCORE_NOTIFICATION_SMTP_PASSWORD go together"
    if settings.account_link_url and "{token}" not in settings.account_link_url:
        yield "ASTROCORE_ACCOUNT_LINK_URL has no {token} in it: no link would lead anywhere"
    yield from _faults_of_privacy(settings)


def _faults_of_privacy(settings: Settings) -> Iterator[str]:
    embedded = settings.environment == "embedded"
    host = settings.notification_smtp_host
    if settings.notification_smtp_tls == "none" and host and not (embedded or is_loopback(host)):
        yield f"ASTROCORE_NOTIFICATION_SMTP_TLS is none, and {host} is another machine: mail would be read on the way"
    for name in ("notification_http_url", "account_link_url"):
        url = getattr(settings, name)
        scheme, host = _scheme_and_host(url) if url else ("https", "none is set")
        if not host:
            yield f"ASTROCORE_{name.upper()} is no URL of the form https://HOST/PATH"
        elif scheme == "http" and not (embedded or is_loopback(host)):
            yield f"ASTROCORE_{name.upper()} is not https, and {host} is another machine: it would be read on the way"


def _scheme_and_host(text: str) -> tuple[str, str]:
    """Of a URL of HTTP without a user in it; the host is empty where the text is none."""
    try:
        url = urlsplit(text)
    except ValueError:
        return "", ""
    fits = url.scheme in {"http", "https"} and url.username is None
    return url.scheme, (url.hostname or "") if fits else ""


def _is_mailbox(text: str) -> bool:
    _name, address = parseaddr(text)
    local, at, domain = address.rpartition("@")
    return bool(text.isprintable() and local and at and domain)


def _are_secrets(secrets: list[str]) -> bool:
    return len(secrets) <= MOST_SECRETS and all(len(each.strip()) >= LEAST_SECRET for each in secrets)

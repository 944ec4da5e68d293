"""The transports that the settings describe."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from app.notifications.delivering.transports.http import HttpTransport
from app.notifications.delivering.transports.smtp import SmtpTransport
from app.notifications.delivering.transports.transport import Transport
from config.settings import PREFIX, Settings, SettingsError

_TRANSPORTS: dict[str, Callable[[Settings], Transport]] = {"smtp": SmtpTransport, "http": HttpTransport}
_NEEDED = {"smtp": "notification_smtp_host", "http": "notification_http_url"}


@asynccontextmanager
async def open_transports(settings: Settings) -> AsyncIterator[Mapping[str, Transport]]:
    """Every transport that has somewhere to hand mail over to, by name. Nothing is connected to before the first mail.

    They belong to the event loop that is running. Raises SettingsError where a file that a setting names cannot be read.
    """
    opened: dict[str, Transport] = {}
    try:
        for name in configured(settings):
            opened[name] = _TRANSPORTS[name](settings)
        yield opened
    finally:
        for each in opened.values():
            await each.close()


def configured(settings: Settings) -> list[str]:
    """The names of the transports that have somewhere to hand mail over to."""
    return [name for name, needed in _NEEDED.items() if getattr(settings, needed)]


def chosen_transport(settings: Settings) -> str:
    """The name of the transport for new mail; raises SettingsError, naming the setting, where it leads nowhere."""
    needed = _NEEDED[settings.notification_transport]
    if not getattr(settings, needed):
        raise SettingsError(
            f"{PREFIX}{needed.upper()} is not set; it says where {settings.notification_transport} hands mail over to"
        )
    return settings.notification_transport

"""Mail over HTTP."""

from web.notifications.callbacks import take_callback
from web.notifications.notifications import Notifications
from web.notifications.suppressions import Suppressions
from web.notifications.templates import Templates
from web.notifications.unsubscribing import show_unsubscribe_page, unsubscribe

CONTROLLERS = (Notifications, Suppressions, Templates)
PUBLIC = (take_callback, show_unsubscribe_page, unsubscribe)
"""What needs no access token: a signature proves who calls."""

__all__ = ["CONTROLLERS", "PUBLIC"]

"""Mail over HTTP."""

from web.notifications.templates import Templates

CONTROLLERS = (Templates,)

__all__ = ["CONTROLLERS"]

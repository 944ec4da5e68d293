"""The operators' console: pages made here, for people who sign in by a form. No script, nothing fetched from elsewhere."""

from litestar import Router
from litestar.di import Provide

from web.console.account import Account
from web.console.forms import check_form, fields_of
from web.console.guard import needs_session
from web.console.links import ChangeAddress, Forgot, ProveAddress, SetPassword
from web.console.mailbox import Messages
from web.console.notifications import Notifications
from web.console.pages import CONSOLE, index, style
from web.console.schedules import Schedules
from web.console.signing_in import SignIn, sign_out


def console() -> Router:
    """Everything below /console: the guard and the check of forms stand here, once, so that no page can go without them."""
    inside = Router(
        "/",
        route_handlers=[index, sign_out, Account, Notifications, Messages, Schedules],
        guards=[needs_session],
    )
    return Router(
        CONSOLE,
        route_handlers=[style, SignIn, Forgot, SetPassword, ProveAddress, ChangeAddress, inside],
        before_request=check_form,
        dependencies={"form": Provide(fields_of)},
        include_in_schema=False,
    )


__all__ = ["console"]

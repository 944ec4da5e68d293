"""Who may see which page. Pages say what they need as calls of the API do."""

from typing import Any

from litestar.exceptions import PermissionDeniedException
from litestar.handlers import BaseRouteHandler

from app.accounts.admission import Caller, recognise
from app.accounts.clients import CONSOLE as CLIENT
from config.correlation import act_as
from web.console.cookie import Connection, secret_of
from web.guards import allows


class SignInFirstError(Exception):
    """Nobody is signed in by this browser, or not any more; or it was too long ago, which `notice` tells."""

    def __init__(self, notice: str | None = None) -> None:
        super().__init__("sign in first")
        self.notice = notice


async def needs_session(connection: Connection, handler: BaseRouteHandler) -> None:
    """Let somebody in who has signed in and may see this. Raises SignInFirstError, 403."""
    caller = await visitor(connection)
    if caller is None:
        raise SignInFirstError
    act_as(caller.name)
    if not allows(caller, handler.opt.get("needs")):
        raise PermissionDeniedException("your roles do not let you do this")


async def visitor(connection: Connection) -> Caller | None:
    """Who has signed in by this browser; None where nobody has."""
    secret = secret_of(connection)
    caller = await recognise(connection.app.state.accounts, secret, CLIENT) if secret else None
    if caller is not None:
        state: dict[str, Any] = connection.scope["state"]
        state["caller"] = caller
    return caller

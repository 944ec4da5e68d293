"""The door of the console."""

from typing import Any

from litestar import Controller, Request, get, post
from litestar.response import Redirect, Template

from app.accounts import clients, sessions, signing_in
from app.accounts.client_authentication import Client
from app.accounts.clients import CONSOLE as CLIENT
from app.accounts.machines import machine
from app.accounts.service import Accounts
from app.accounts.signing_in import Credentials
from app.errors import CoreError, ForbiddenError, InvalidInputError
from web.accounts.inputs import Held, Typed
from web.console.cookie import fresh_secret, secret_of
from web.console.forms import Form, filled
from web.console.pages import SIGN_IN, inside, page, redirect
from web.guards import needs_user
from web.problems import respond

_MOST_DEVICE = 200


class SignIn(Controller):
    """By address, password and, where it is set up, a code of the second factor."""

    path = "/sign-in"

    @get(sync_to_thread=False)
    def ask(self, request: Request[Any, Any, Any]) -> Template:
        return _page(request, {"next": request.query_params.get("next", "")})

    @post()
    async def sign_in(
        self, request: Request[Any, Any, Any], accounts: Held, form: Form
    ) -> Template | Redirect:
        """A cookie with a new secret; that of before is good no more."""
        try:
            given = _credentials(request, filled(Typed, form))
            signed_in = await signing_in.sign_in(accounts, given, await console_client(accounts))
        except CoreError as error:
            return _page(request, form, error)
        await _leave(accounts, secret_of(request))
        return redirect(request, inside(form.get("next", "")), secret=signed_in.refresh_token)


@post("/sign-out", opt=needs_user())
async def sign_out(request: Request[Any, Any, Any], accounts: Held) -> Redirect:
    """End the session of this browser."""
    await _leave(accounts, secret_of(request))
    return redirect(request, f"{SIGN_IN}?done=signed-out", secret=fresh_secret())


def _page(request: Request[Any, Any, Any], form: dict[str, str], error: CoreError | None = None) -> Template:
    return page(
        request,
        "sign_in",
        secret=secret_of(request) or fresh_secret(),
        error=respond(request, error) if error else None,
        email=form.get("email", ""),
        next=inside(form.get("next", "")),
    )


def _credentials(request: Request[Any, Any, Any], typed: Typed) -> Credentials:
    agent = "".join(each for each in request.headers.get("user-agent", "") if each.isprintable())
    return Credentials(
        typed.email, typed.password, typed.code, address_of(request), agent[:_MOST_DEVICE] or None
    )


def address_of(request: Request[Any, Any, Any]) -> str | None:
    """The IP address that the outermost proxy of ours was called from; that of the connection where there is none.

    What stands further left in X-Forwarded-For is only what a caller claims.
    """
    trusted: int = request.app.state.stores.settings.trusted_proxies
    passed = ",".join(request.headers.getall("x-forwarded-for", [])).split(",")
    forwarded = passed[-trusted].strip() if 0 < trusted <= len(passed) else ""
    return _spelled(forwarded) or _spelled(request.client.host if request.client else "")


def _spelled(text: str) -> str | None:
    try:
        return machine(text)
    except InvalidInputError:
        return None


async def console_client(accounts: Accounts) -> Client:
    """The console as a client, which an admin can keep out as any other. Raises ForbiddenError."""
    found = await clients.get_client(accounts.stores, CLIENT)
    if found.status != "active":
        raise ForbiddenError("an admin has switched the console off")
    return Client(found.name, found.scopes)


async def _leave(accounts: Accounts, secret: str | None) -> None:
    """End the session that a browser was signed in by, where it was."""
    found = await sessions.session_of_token(accounts.stores, secret, CLIENT) if secret else None
    if found is not None:
        user, session = found
        await sessions.sign_out(accounts.stores, user, session, by=f"user:{user}")

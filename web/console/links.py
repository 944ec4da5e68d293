"""Where links in mails about accounts lead. Whoever has one needs no more; looking at a page uses nothing up.

Programs that look through mail follow links: only a form, sent by its button, does what a link is for.
"""

from typing import Annotated, Any

from litestar import Controller, Request, get, post
from litestar.response import Redirect, Template
from msgspec import Meta, Struct

from actors import notifications
from app.accounts import credentials, emails
from app.accounts.clients import CONSOLE as CLIENT
from app.accounts.links import LinkRefusedError, find_link
from app.accounts.mails import Purpose
from app.accounts.service import Accounts
from app.errors import CoreError
from web.accounts.inputs import Held, Password, Proof, Reset
from web.console.cookie import fresh_secret, secret_of
from web.console.forms import Form, check_same, filled
from web.console.pages import CONSOLE, FORGOT, page, redirect
from web.console.signing_in import address_of, console_client
from web.problems import respond
from web.waking import wake

BY = f"client:{CLIENT}"
"""Who brings the link: nobody is signed in."""


class Asked(Struct):
    """Whose password is to be set anew."""

    email: Annotated[str, Meta(max_length=1000)]


class TypedTwice(Reset, kw_only=True):
    """The new password twice, for what is typed is not seen."""

    again: Password


class Forgot(Controller):
    """A mail with a link, for whoever knows an address."""

    path = "/forgot"

    @get(sync_to_thread=False)
    def ask(self, request: Request[Any, Any, Any]) -> Template:
        return _open_page(request, "forgot", email="")

    @post()
    async def send(self, request: Request[Any, Any, Any], accounts: Held, form: Form) -> Template | Redirect:
        """The answer is the same, and takes as long, whether anybody has this address."""
        try:
            await console_client(accounts)
            asked = filled(Asked, form)
            await credentials.ask_reset(accounts, asked.email, client_ip=address_of(request), by=BY)
        except CoreError as error:
            return _open_page(request, "forgot", error, email=form.get("email", ""))
        await wake(notifications.wake_delivery)
        return redirect(request, f"{FORGOT}?done=asked")


class SetPassword(Controller):
    """A new password, by the link of a mail."""

    path = "/reset"

    @get()
    async def ask(self, request: Request[Any, Any, Any], accounts: Held) -> Template:
        return await _link_page(request, accounts, "reset", request.query_params.get("token", ""))

    @post()
    async def reset(self, request: Request[Any, Any, Any], accounts: Held, form: Form) -> Template | Redirect:
        """A password that is refused leaves the link as it was."""
        try:
            await console_client(accounts)
            given = filled(TypedTwice, form)
            check_same(given.password, given.again)
            await credentials.reset_password(accounts, given.token, given.password, by=BY)
        except CoreError as error:
            return await _link_page(request, accounts, "reset", form.get("token", ""), error)
        await wake(notifications.wake_delivery)
        return _done(request, "reset", "reset")


class ProveAddress(Controller):
    """That an address is its user's, by the link of a mail."""

    path = "/verify"

    @get()
    async def ask(self, request: Request[Any, Any, Any], accounts: Held) -> Template:
        return await _link_page(request, accounts, "verify", request.query_params.get("token", ""))

    @post()
    async def verify(
        self, request: Request[Any, Any, Any], accounts: Held, form: Form
    ) -> Template | Redirect:
        try:
            await console_client(accounts)
            await emails.verify_email(accounts, filled(Proof, form).token, by=BY)
        except CoreError as error:
            return await _link_page(request, accounts, "verify", form.get("token", ""), error)
        return _done(request, "verify", "verified")


class ChangeAddress(Controller):
    """Another address of a user, by the link of a mail to it."""

    path = "/change"

    @get()
    async def ask(self, request: Request[Any, Any, Any], accounts: Held) -> Template:
        return await _link_page(request, accounts, "change", request.query_params.get("token", ""))

    @post()
    async def change(
        self, request: Request[Any, Any, Any], accounts: Held, form: Form
    ) -> Template | Redirect:
        try:
            await console_client(accounts)
            await emails.confirm_change(accounts, filled(Proof, form).token, by=BY)
        except CoreError as error:
            return await _link_page(request, accounts, "change", form.get("token", ""), error)
        await wake(notifications.wake_delivery)
        return _done(request, "change", "changed")


def _done(request: Request[Any, Any, Any], purpose: Purpose, what: str) -> Redirect:
    """Lead on to a page without the token in its address."""
    return redirect(request, f"{CONSOLE}/{purpose}?done={what}")


async def _link_page(
    request: Request[Any, Any, Any],
    accounts: Accounts,
    purpose: Purpose,
    token: str,
    error: CoreError | None = None,
) -> Template:
    """The form of a link that is good; else a page that says that it is not, or that it is done."""
    if request.method == "GET" and not token and request.query_params.get("done"):
        return page(request, "link_done", purpose=purpose)
    try:
        link = await find_link(accounts.stores.core, token, purpose, accounts.clock())
    except LinkRefusedError as refused:
        return page(request, "link_refused", error=respond(request, refused), purpose=purpose)
    name = "reset" if purpose == "reset" else "prove"
    return _open_page(request, name, error, purpose=purpose, token=token, email=link["new_email"])


def _open_page(
    request: Request[Any, Any, Any], name: str, error: CoreError | None = None, **context: Any
) -> Template:
    """A page with a form for somebody who has not signed in."""
    secret = secret_of(request) or fresh_secret()
    return page(request, name, secret=secret, error=respond(request, error) if error else None, **context)

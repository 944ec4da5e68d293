"""My account: who I am, where I am signed in, my password, my second factor."""

from base64 import b32decode
from typing import Annotated, Any
from uuid import UUID

import segno
from litestar import Controller, Request, get, post
from litestar.exceptions import NotAuthorizedException
from litestar.params import FromPath
from litestar.response import Redirect, Template
from msgspec import Meta, Struct

from actors import notifications
from app.accounts import credentials, devices, second_factor, sessions, users
from app.accounts.admission import Caller
from app.accounts.devices import NewDevice
from app.accounts.limits import TooManyAttemptsError
from app.accounts.permissions import Role, Scope
from app.accounts.service import Accounts
from app.accounts.sessions import Exchange
from app.accounts.users import ProfileChange
from app.errors import CoreError, InvalidInputError
from web.accounts.inputs import Code, Held, PasswordChange
from web.console.cookie import fresh_secret, secret_of
from web.console.forms import Form, check_same, filled
from web.console.guard import SignInFirstError
from web.console.pages import ACCOUNT, SIGN_IN, page, redirect
from web.guards import Calling, needs_user
from web.problems import respond
from web.waking import wake

_EVERY = frozenset(Role)


class NewPassword(PasswordChange):
    """The new password twice, for what is typed is not seen."""

    again: str


class Language(Struct):
    """The language of one's mails; none is English."""

    locale: str | None = None


class Confirmation(Struct):
    """A code of the new device, and the key that was shown for it, to be shown again where the code is wrong."""

    code: Code
    secret: Annotated[str, Meta(pattern=r"^[A-Z2-7]{32}\Z")]


class Account(Controller):
    """Everybody's own account, whatever their roles."""

    path = "/account"
    opt = needs_user()

    @get()
    async def show(self, request: Request[Any, Any, Any], accounts: Held, caller: Calling) -> Template:
        return await _page(request, accounts, caller)

    @post("/language")
    async def change_language(
        self, request: Request[Any, Any, Any], accounts: Held, caller: Calling, form: Form
    ) -> Template | Redirect:
        try:
            change = ProfileChange(locale=filled(Language, form).locale)
            await users.change_user(accounts, _own(caller), change, by=caller.name, may_grant=_EVERY)
        except CoreError as error:
            return await _page(request, accounts, caller, error, form.get("locale"))
        return redirect(request, f"{ACCOUNT}?done=language")

    @post("/password")
    async def change_password(
        self, request: Request[Any, Any, Any], accounts: Held, caller: Calling, form: Form
    ) -> Template | Redirect:
        """Signs out everywhere else."""
        try:
            given, exchange = _new_password(form), _exchange(request)
            await credentials.change_password(
                accounts,
                _own(caller),
                given.old_password,
                given.new_password,
                keep=caller.session,
                by=caller.name,
                exchange=exchange,
            )
        except CoreError as error:
            return await _page(request, accounts, caller, error)
        await wake(notifications.wake_delivery)
        return redirect(request, f"{ACCOUNT}?done=password", secret=exchange.fresh)

    @post("/sessions/{session_id:uuid}/end")
    async def end_session(
        self, request: Request[Any, Any, Any], accounts: Held, caller: Calling, session_id: FromPath[UUID]
    ) -> Redirect:
        await sessions.sign_out(accounts.stores, _own(caller), session_id, by=caller.name)
        return redirect(request, f"{ACCOUNT}?done=session")

    @post("/sessions/end")
    async def end_sessions(
        self, request: Request[Any, Any, Any], accounts: Held, caller: Calling
    ) -> Redirect:
        """This one too."""
        await sessions.sign_out_everywhere(accounts.stores, _own(caller), by=caller.name, may_grant=_EVERY)
        return redirect(request, f"{SIGN_IN}?done=everywhere", secret=fresh_secret())

    @post("/second-factor")
    async def propose_device(
        self, request: Request[Any, Any, Any], accounts: Held, caller: Calling
    ) -> Template:
        """The key of a new device, which counts once it is confirmed."""
        _check_fresh(accounts, caller)
        return _device_page(
            request,
            await devices.propose_device(accounts, _own(caller), session=caller.session, by=caller.name),
        )

    @post("/second-factor/confirm")
    async def confirm_device(
        self, request: Request[Any, Any, Any], accounts: Held, caller: Calling, form: Form
    ) -> Template:
        """Recovery codes, which are never told again."""
        _check_fresh(accounts, caller)
        try:
            given, exchange = filled(Confirmation, form), _exchange(request)
            codes = await devices.confirm_device(
                accounts,
                _own(caller),
                given.code,
                session=caller.session,
                by=caller.name,
                exchange=exchange,
            )
        except (InvalidInputError, TooManyAttemptsError) as error:
            return await _device_again(request, accounts, caller, form, error)
        await wake(notifications.wake_delivery)
        done = "The second factor is set up."
        return page(request, "recovery_codes", secret=exchange.fresh, codes=codes, done=done)

    @post("/second-factor/recovery-codes")
    async def renew_recovery_codes(
        self, request: Request[Any, Any, Any], accounts: Held, caller: Calling
    ) -> Template:
        """Others than before, told this once."""
        _check_fresh(accounts, caller)
        codes = await devices.renew_recovery_codes(
            accounts, _own(caller), session=caller.session, by=caller.name
        )
        await wake(notifications.wake_delivery)
        return page(request, "recovery_codes", codes=codes, done="The codes of before are good no more.")

    @post("/second-factor/remove")
    async def remove_device(
        self, request: Request[Any, Any, Any], accounts: Held, caller: Calling
    ) -> Redirect:
        """Signs out everywhere, here too."""
        _check_fresh(accounts, caller)
        await devices.remove_own_device(accounts, _own(caller), session=caller.session, by=caller.name)
        await wake(notifications.wake_delivery)
        return redirect(request, f"{SIGN_IN}?done=removed", secret=fresh_secret())


def _own(caller: Caller) -> UUID:
    """The user who has signed in; the guard lets nobody else in."""
    if caller.user is None:
        raise NotAuthorizedException
    return caller.user


def _exchange(request: Request[Any, Any, Any]) -> Exchange:
    """Another secret for the session: what is done here must not be for the good of whoever has a copy of the old one."""
    return sessions.exchange_of(secret_of(request) or "")


def _check_fresh(accounts: Accounts, caller: Caller) -> None:
    """Refuse what a stolen session must not do."""
    if not caller.is_fresh(accounts.clock()):
        raise SignInFirstError("again")


def _new_password(form: Form) -> NewPassword:
    given = filled(NewPassword, form)
    check_same(given.new_password, given.again)
    return given


async def _page(
    request: Request[Any, Any, Any],
    accounts: Accounts,
    caller: Caller,
    error: CoreError | None = None,
    locale: str | None = None,
) -> Template:
    """The account; `locale` is what was given in vain for that of its mails."""
    user = await users.get_user(accounts.stores, _own(caller))
    return page(
        request,
        "account",
        error=respond(request, error) if error else None,
        user=user,
        locale=user.locale if locale is None else locale,
        scopes=[each for each in Scope if each in caller.scopes],
        without_force=sorted(set(user.roles) - caller.roles),
        sessions=await sessions.list_sessions(accounts.stores, user.id),
        fresh=caller.is_fresh(accounts.clock()),
    )


def _device_page(
    request: Request[Any, Any, Any], device: NewDevice, error: CoreError | None = None
) -> Template:
    picture = segno.make(device.uri, micro=False).svg_data_uri(scale=4, dark="#000", light="#fff")
    failure = respond(request, error) if error else None
    return page(request, "second_factor", error=failure, device=device, picture=picture)


async def _device_again(
    request: Request[Any, Any, Any], accounts: Accounts, caller: Caller, form: Form, error: CoreError
) -> Template:
    """The same device once more, where the form names one."""
    if isinstance(error, InvalidInputError) and any(each.where == "secret" for each in error.faults):
        raise error
    user = await users.get_user(accounts.stores, _own(caller))
    uri = second_factor.uri_of(b32decode(form["secret"]), user.email or "")
    return _device_page(request, NewDevice(form["secret"], uri), error)

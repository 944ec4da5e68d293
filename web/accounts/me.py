"""What users do about themselves, with their own access token."""

from uuid import UUID

from litestar import Controller, Response, delete, get, patch, post
from litestar.exceptions import PermissionDeniedException
from litestar.params import FromPath, JSONBody
from msgspec import UNSET, Struct

from actors import notifications
from app.accounts import credentials, sessions, users
from app.accounts.admission import Caller
from app.accounts.credentials import NewDevice
from app.accounts.permissions import Role
from app.accounts.users import ProfileChange
from app.accounts.views import SessionView, UserView
from app.clock import now
from app.notifications.account_mails import deliver_by_mail
from web.accounts.inputs import DeviceProof, Held, MyChange, PasswordChange
from web.guards import REALM, Calling, needs_user
from web.waking import wake

FRESH_SECONDS = 600
_NO_STORE = {"Cache-Control": "no-store"}


class RecoveryCodes(Struct):
    """Each is good once; they are never told again."""

    recovery_codes: list[str]


class Me(Controller):
    """One's own account."""

    path = "/me"
    tags = ("me",)
    opt = needs_user()

    @get(summary="Show who I am")
    async def get_me(self, accounts: Held, caller: Calling) -> UserView:
        return await users.get_user(accounts.stores, _own(caller))

    @patch(summary="Change my names or my address")
    async def change_me(self, accounts: Held, caller: Calling, data: JSONBody[MyChange]) -> UserView:
        """A new address asks for a sign-in within the last ten minutes, and is not verified at first."""
        if data.email is not UNSET:
            _check_fresh(caller)
        change = ProfileChange(data.email, data.given_name, data.family_name)
        return await users.change_user(
            accounts.stores, _own(caller), change, by=caller.name, may_grant=frozenset(Role)
        )

    @post("/password", status_code=204, summary="Change my password")
    async def change_my_password(
        self, accounts: Held, caller: Calling, data: JSONBody[PasswordChange]
    ) -> None:
        """Signs out everywhere else."""
        await credentials.change_password(
            accounts,
            _own(caller),
            data.old_password,
            data.new_password,
            keep=caller.session,
            by=caller.name,
        )

    @post("/email-verification", status_code=204, summary="Have a mail sent that proves my address")
    async def send_verification(self, accounts: Held, caller: Calling) -> None:
        await credentials.send_verification(accounts, _own(caller), deliver=deliver_by_mail(accounts))
        await wake(notifications.wake_delivery)

    @post("/second-factor", status_code=200, summary="Propose a device as second factor")
    async def propose_device(self, accounts: Held, caller: Calling) -> Response[NewDevice]:
        """Asks for a sign-in within the last ten minutes. The device counts once it is confirmed by a code."""
        _check_fresh(caller)
        return Response(await credentials.propose_device(accounts, _own(caller)), headers=_NO_STORE)

    @post("/second-factor/confirm", status_code=200, summary="Confirm the device by a code of it")
    async def confirm_device(
        self, accounts: Held, caller: Calling, data: JSONBody[DeviceProof]
    ) -> Response[RecoveryCodes]:
        codes = await credentials.confirm_device(accounts, _own(caller), data.code, by=caller.name)
        return Response(RecoveryCodes(codes), headers=_NO_STORE)

    @delete("/second-factor", summary="Remove my second factor")
    async def remove_my_device(self, accounts: Held, caller: Calling) -> None:
        """Asks for a sign-in within the last ten minutes, and signs out everywhere."""
        _check_fresh(caller)
        await credentials.remove_device(accounts, _own(caller), by=caller.name, may_grant=frozenset(Role))

    @get("/sessions", summary="List where I am signed in")
    async def list_my_sessions(self, accounts: Held, caller: Calling) -> list[SessionView]:
        return await sessions.list_sessions(accounts.stores, _own(caller))

    @delete("/sessions/{session_id:uuid}", summary="Sign out of a session of mine")
    async def end_my_session(self, accounts: Held, caller: Calling, session_id: FromPath[UUID]) -> None:
        await sessions.sign_out(accounts.stores, _own(caller), session_id, by=caller.name)

    @delete("/sessions", summary="Sign out everywhere")
    async def end_my_sessions(self, accounts: Held, caller: Calling) -> None:
        await sessions.sign_out_everywhere(accounts.stores, _own(caller), by=caller.name)


def _own(caller: Caller) -> UUID:
    """The user who calls; the guard lets nobody else in."""
    if caller.user is None:
        raise PermissionDeniedException("this call is for users themselves")
    return caller.user


def _check_fresh(caller: Caller) -> None:
    """Refuse what a stolen session must not do (RFC 9470)."""
    if now().timestamp() - caller.auth_time > FRESH_SECONDS:
        told = f'{REALM}, error="insufficient_user_authentication", max_age="{FRESH_SECONDS}"'
        raise PermissionDeniedException("sign in again first", headers={"WWW-Authenticate": told})

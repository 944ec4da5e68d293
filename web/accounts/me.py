"""What users do about themselves, with their own access token."""

from uuid import UUID

from litestar import Controller, delete, get, patch, post
from litestar.exceptions import PermissionDeniedException
from litestar.params import FromPath, JSONBody
from msgspec import Struct

from actors import notifications
from app.accounts import credentials, devices, emails, sessions, users
from app.accounts.admission import Caller
from app.accounts.devices import NewDevice
from app.accounts.permissions import Role
from app.accounts.users import ProfileChange
from app.accounts.views import SessionView, UserView
from web.accounts.inputs import DeviceProof, EmailChange, Held, MyChange, PasswordChange
from web.guards import Calling, check_fresh, needs_user
from web.waking import wake


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

    @patch(summary="Change my names and my language")
    async def change_me(self, accounts: Held, caller: Calling, data: JSONBody[MyChange]) -> UserView:
        """What is left out stays."""
        change = ProfileChange(given_name=data.given_name, family_name=data.family_name, locale=data.locale)
        return await users.change_user(
            accounts, _own(caller), change, by=caller.name, may_grant=frozenset(Role)
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
        await wake(notifications.wake_delivery)

    @post("/email", status_code=204, summary="Change my address")
    async def change_my_email(self, accounts: Held, caller: Calling, data: JSONBody[EmailChange]) -> None:
        """A mail is sent to the new address, which is mine once its token is taken to `/v1/auth/email-change/confirm`.

        The answer is the same where another user has the address. 429 says by Retry-After when to come again.
        """
        await emails.ask_change(
            accounts,
            _own(caller),
            data.email,
            data.password,
            session=caller.session,
            by=caller.name,
        )
        await wake(notifications.wake_delivery)

    @post("/email-verification", status_code=204, summary="Have a mail sent that proves my address")
    async def send_verification(self, accounts: Held, caller: Calling) -> None:
        """429 says by Retry-After when to come again: one a minute is sent, and five an hour."""
        await emails.send_verification(accounts, _own(caller), by=caller.name)
        await wake(notifications.wake_delivery)

    @post("/second-factor", status_code=200, summary="Propose a device as second factor")
    async def propose_device(self, accounts: Held, caller: Calling) -> NewDevice:
        """Asks for a sign-in within the last ten minutes. The device counts once it is confirmed by a code."""
        check_fresh(caller)
        return await devices.propose_device(accounts, _own(caller), session=caller.session, by=caller.name)

    @post("/second-factor/confirm", status_code=200, summary="Confirm the device by a code of it")
    async def confirm_device(
        self, accounts: Held, caller: Calling, data: JSONBody[DeviceProof]
    ) -> RecoveryCodes:
        """Asks for a sign-in within the last ten minutes, and signs out everywhere else; here the second factor counts as used.

        A device waits for ten minutes, and for five codes.
        """
        check_fresh(caller)
        codes = await devices.confirm_device(
            accounts, _own(caller), data.code, session=caller.session, by=caller.name
        )
        await wake(notifications.wake_delivery)
        return RecoveryCodes(codes)

    @delete("/second-factor", summary="Remove my second factor")
    async def remove_my_device(self, accounts: Held, caller: Calling) -> None:
        """Asks for a sign-in within the last ten minutes, and signs out everywhere.

        409 while the password has fewer than 15 characters: that is enough beside a second factor only.
        """
        check_fresh(caller)
        await devices.remove_own_device(accounts, _own(caller), session=caller.session, by=caller.name)
        await wake(notifications.wake_delivery)

    @post("/recovery-codes", status_code=200, summary="Get other recovery codes")
    async def renew_recovery_codes(self, accounts: Held, caller: Calling) -> RecoveryCodes:
        """Asks for a sign-in within the last ten minutes. Those of before are good no more."""
        check_fresh(caller)
        codes = await devices.renew_recovery_codes(
            accounts, _own(caller), session=caller.session, by=caller.name
        )
        await wake(notifications.wake_delivery)
        return RecoveryCodes(codes)

    @get("/sessions", summary="List where I am signed in")
    async def list_my_sessions(self, accounts: Held, caller: Calling) -> list[SessionView]:
        return await sessions.list_sessions(accounts.stores, _own(caller))

    @delete("/sessions/{session_id:uuid}", summary="Sign out of a session of mine")
    async def end_my_session(self, accounts: Held, caller: Calling, session_id: FromPath[UUID]) -> None:
        await sessions.sign_out(accounts.stores, _own(caller), session_id, by=caller.name)

    @delete("/sessions", summary="Sign out everywhere")
    async def end_my_sessions(self, accounts: Held, caller: Calling) -> None:
        await sessions.sign_out_everywhere(
            accounts.stores, _own(caller), by=caller.name, may_grant=frozenset(Role)
        )


def _own(caller: Caller) -> UUID:
    """The user who calls; the guard lets nobody else in."""
    if caller.user is None:
        raise PermissionDeniedException("this call is for users themselves")
    return caller.user

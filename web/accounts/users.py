"""Users over HTTP, for services that know them and for those who look after them."""

from uuid import UUID

from litestar import Controller, Response, delete, get, patch, post
from litestar.params import FromPath, FromQuery, JSONBody
from msgspec import UNSET

from actors import notifications
from app.accounts import credentials, devices, sessions, users
from app.accounts.permissions import Role, Scope
from app.accounts.users import Profile, ProfileChange
from app.accounts.views import SessionView, Status, UserView
from app.pages import LIMIT_DEFAULT, Page
from web.accounts.inputs import Held, NewUser, UserChange
from web.guards import Calling, check_fresh, needs
from web.inputs import Cursor, Decision, Limit, Why
from web.waking import wake

USERS = "/v1/users"
READ, WRITE = needs(Scope.USERS_READ), needs(Scope.USERS_WRITE)


class Users(Controller):
    """Everybody who may sign in. Who has an operator's, an auditor's or an admin's role is changed by admins alone."""

    path = "/users"
    tags = ("users",)

    @post(summary="Add a user", opt=WRITE)
    async def create_user(
        self, accounts: Held, caller: Calling, data: JSONBody[NewUser]
    ) -> Response[UserView]:
        """Without a password a mail is sent, by which the user sets one. 409 where another user has the address.

        Whoever gives roles as a user has to have signed in within the last ten minutes.
        """
        if data.roles:
            check_fresh(caller)
        profile = Profile(data.email, data.given_name, data.family_name, data.roles, data.locale)
        user = await credentials.invite(
            accounts,
            profile,
            data.password,
            by=caller.name,
            may_grant=caller.may_grant,
        )
        await wake(notifications.wake_delivery)
        return Response(user, status_code=201, headers={"Location": f"{USERS}/{user.id}"})

    @get(summary="List users, the latest first", opt=READ)
    async def list_users(
        self,
        *,
        accounts: Held,
        email: FromQuery[str | None] = None,
        role: FromQuery[Role | None] = None,
        status: FromQuery[Status | None] = None,
        limit: Limit = LIMIT_DEFAULT,
        cursor: Cursor = None,
    ) -> Page[UserView]:
        """Deleted users, of whom nothing but the id is left, are listed with `status=deleted` alone."""
        return await users.list_users(
            accounts.stores, email=email, role=role, status=status, limit=limit, cursor=cursor
        )

    @get("/{user_id:uuid}", summary="Show a user", opt=READ)
    async def get_user(self, accounts: Held, user_id: FromPath[UUID]) -> UserView:
        return await users.get_user(accounts.stores, user_id)

    @patch("/{user_id:uuid}", summary="Change a user", opt=WRITE)
    async def change_user(
        self, accounts: Held, caller: Calling, user_id: FromPath[UUID], data: JSONBody[UserChange]
    ) -> UserView:
        """What is left out stays; an address of before is told. 409 where `version` is given and the user has changed meanwhile.

        Whoever changes an address or roles as a user has to have signed in within the last ten minutes.
        """
        if data.email is not UNSET or data.roles is not UNSET:
            check_fresh(caller)
        change = ProfileChange(data.email, data.given_name, data.family_name, data.roles, data.locale)
        user = await users.change_user(
            accounts,
            user_id,
            change,
            by=caller.name,
            may_grant=caller.may_grant,
            version=data.version,
        )
        await wake(notifications.wake_delivery)
        return user

    @delete("/{user_id:uuid}", summary="Delete a user", opt=WRITE)
    async def delete_user(
        self, accounts: Held, caller: Calling, user_id: FromPath[UUID], reason: Why
    ) -> None:
        """Removes personal data and everything that lets the user in; the id stays, for whoever reads the audit.

        Mails that were for the user, or to an address that they have proven, are forgotten: what waits does not go.

        Whoever calls as a user has to have signed in within the last ten minutes.
        """
        check_fresh(caller)
        await users.delete_user(accounts, user_id, by=caller.name, reason=reason, may_grant=caller.may_grant)

    @post("/{user_id:uuid}/lock", status_code=200, summary="Lock a user out", opt=WRITE)
    async def lock_user(
        self, accounts: Held, caller: Calling, user_id: FromPath[UUID], data: JSONBody[Decision]
    ) -> UserView:
        """Ends every session of the user."""
        return await self._move(accounts, caller, user_id, Status.LOCKED, data.reason)

    @post("/{user_id:uuid}/disable", status_code=200, summary="Disable a user", opt=WRITE)
    async def disable_user(
        self, accounts: Held, caller: Calling, user_id: FromPath[UUID], data: JSONBody[Decision]
    ) -> UserView:
        """Ends every session of the user."""
        return await self._move(accounts, caller, user_id, Status.DISABLED, data.reason)

    @post(
        "/{user_id:uuid}/unlock", status_code=200, summary="Let a locked or disabled user in again", opt=WRITE
    )
    async def unlock_user(
        self, accounts: Held, caller: Calling, user_id: FromPath[UUID], data: JSONBody[Decision]
    ) -> UserView:
        """Forgets wrong tries too. Whoever calls as a user has to have signed in within the last ten minutes."""
        check_fresh(caller)
        return await credentials.unlock(
            accounts, user_id, by=caller.name, reason=data.reason, may_grant=caller.may_grant
        )

    @post(
        "/{user_id:uuid}/password-reset", status_code=204, summary="Have a user set a new password", opt=WRITE
    )
    async def reset_user_password(self, accounts: Held, caller: Calling, user_id: FromPath[UUID]) -> None:
        """Sends a mail; the password that is set stays good until then."""
        await credentials.send_reset(
            accounts,
            user_id,
            by=caller.name,
            may_grant=caller.may_grant,
        )
        await wake(notifications.wake_delivery)

    @post("/{user_id:uuid}/allow-sign-in", status_code=204, summary="Forget a user's wrong tries", opt=WRITE)
    async def allow_sign_in(
        self, accounts: Held, caller: Calling, user_id: FromPath[UUID], data: JSONBody[Decision]
    ) -> None:
        await credentials.allow_sign_in(
            accounts, user_id, by=caller.name, reason=data.reason, may_grant=caller.may_grant
        )

    @delete("/{user_id:uuid}/second-factor", summary="Remove a user's second factor", opt=WRITE)
    async def remove_user_device(
        self, accounts: Held, caller: Calling, user_id: FromPath[UUID], reason: Why
    ) -> None:
        """Ends every session of the user. A password of fewer than 15 characters goes too, and a link to set one is sent.

        Whoever calls as a user has to have signed in within the last ten minutes.
        """
        check_fresh(caller)
        await devices.remove_device(
            accounts,
            user_id,
            by=caller.name,
            reason=reason,
            may_grant=caller.may_grant,
        )
        await wake(notifications.wake_delivery)

    @get("/{user_id:uuid}/sessions", summary="List where a user is signed in", opt=READ)
    async def list_user_sessions(self, accounts: Held, user_id: FromPath[UUID]) -> list[SessionView]:
        await users.get_user(accounts.stores, user_id)
        return await sessions.list_sessions(accounts.stores, user_id)

    @delete("/{user_id:uuid}/sessions", summary="Sign a user out everywhere", opt=WRITE)
    async def end_user_sessions(self, accounts: Held, caller: Calling, user_id: FromPath[UUID]) -> None:
        await sessions.sign_out_everywhere(
            accounts.stores, user_id, by=caller.name, may_grant=caller.may_grant
        )

    async def _move(
        self, accounts: Held, caller: Calling, user: UUID, status: Status, reason: str
    ) -> UserView:
        return await users.move_user(
            accounts.stores, user, status, by=caller.name, reason=reason, may_grant=caller.may_grant
        )

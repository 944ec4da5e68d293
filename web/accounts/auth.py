"""Signing in, on behalf of users, by services that are trusted with it."""

from litestar import Controller, post
from litestar.params import JSONBody

from actors import notifications
from app.accounts import credentials, emails, sessions, signing_in
from app.accounts.client_authentication import Client
from app.accounts.permissions import Role, Scope
from app.accounts.sessions import SignedIn
from app.accounts.signing_in import Credentials
from web.accounts.inputs import Held, Login, Logout, Proof, Refresh, Reset, ResetRequest
from web.guards import Calling, needs
from web.waking import wake


class Auth(Controller):
    """What a service with the scope `users:authenticate` does for a user."""

    path = "/auth"
    tags = ("authentication",)
    opt = needs(Scope.USERS_AUTHENTICATE)

    @post("/login", status_code=200, summary="Sign a user in")
    async def login(self, accounts: Held, caller: Calling, data: JSONBody[Login]) -> SignedIn:
        """Whatever is wrong, the answer is the same 401; one of type `…/second-factor-needed` asks for a `code`.

        429 says by Retry-After when it may be tried again; 503 that too many passwords are being checked.
        """
        given = Credentials(data.email, data.password, data.code, data.machine(), data.device)
        return await signing_in.sign_in(accounts, given, Client(caller.client, caller.scopes))

    @post("/refresh", status_code=200, summary="Get fresh tokens for a refresh token")
    async def refresh(self, accounts: Held, caller: Calling, data: JSONBody[Refresh]) -> SignedIn:
        """A refresh token is good once; one that is used a second time ends its session.

        Only the answer that was lost may be asked for again, for ten seconds, and is the same then.
        """
        return await sessions.refresh(accounts, data.refresh_token, caller.client, caller.scopes)

    @post("/logout", status_code=204, summary="Sign a user out, here or everywhere")
    async def logout(self, accounts: Held, caller: Calling, data: JSONBody[Logout]) -> None:
        """What is no token of this client is no error: nobody is signed in by it.

        `everywhere` takes a session that has not ended: an old token must not end those of today.
        """
        found = await sessions.session_of_token(accounts.stores, data.refresh_token, caller.client)
        if found is None:
            return
        user, session = found
        if data.everywhere and await sessions.is_alive(accounts.stores, session):
            await sessions.sign_out_everywhere(
                accounts.stores, user, by=caller.name, may_grant=frozenset(Role)
            )
        else:
            await sessions.sign_out(accounts.stores, user, session, by=caller.name)

    @post("/password-reset", status_code=204, summary="Have a mail sent by which a user sets a new password")
    async def ask_reset(self, accounts: Held, caller: Calling, data: JSONBody[ResetRequest]) -> None:
        """The answer is the same, and takes as long, whether anybody has this address. 429 as for `login`."""
        await credentials.ask_reset(accounts, data.email, client_ip=data.machine(), by=caller.name)
        await wake(notifications.wake_delivery)

    @post("/password-reset/confirm", status_code=204, summary="Set a new password by the token of the mail")
    async def reset_password(self, accounts: Held, caller: Calling, data: JSONBody[Reset]) -> None:
        """Ends every session of the user. A password that is refused leaves the token as it was."""
        await credentials.reset_password(accounts, data.token, data.password, by=caller.name)
        await wake(notifications.wake_delivery)

    @post("/email-verification/confirm", status_code=204, summary="Prove an address by the token of the mail")
    async def verify_email(self, accounts: Held, caller: Calling, data: JSONBody[Proof]) -> None:
        await emails.verify_email(accounts, data.token, by=caller.name)

    @post("/email-change/confirm", status_code=204, summary="Change an address by the token of the mail")
    async def confirm_change(self, accounts: Held, caller: Calling, data: JSONBody[Proof]) -> None:
        """Signs the user out everywhere but where they asked for it."""
        await emails.confirm_change(accounts, data.token, by=caller.name)
        await wake(notifications.wake_delivery)

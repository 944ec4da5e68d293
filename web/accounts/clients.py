"""Service clients over HTTP."""

from uuid import UUID

from litestar import Controller, Response, delete, get, patch, post
from litestar.params import FromPath, JSONBody

from app.accounts import clients
from app.accounts.permissions import Scope
from app.accounts.views import ClientView, NewCredential
from web.accounts.inputs import CredentialOrder, NewClient, ScopesChange
from web.guards import Calling, check_fresh, needs
from web.inputs import Decision, Why
from web.stores import Opened

CLIENTS = "/v1/clients"


class Clients(Controller):
    """The services that call us.

    Whoever makes one, gives it scopes or a credential, or lets it in again as a user has to have signed in within the last ten minutes.
    """

    path = "/clients"
    tags = ("clients",)
    opt = needs(Scope.CLIENTS_ADMIN)

    @post(summary="Add a client")
    async def create_client(
        self, stores: Opened, caller: Calling, data: JSONBody[NewClient]
    ) -> Response[ClientView]:
        """It has no credential yet: POST one to `/v1/clients/{name}/credentials`."""
        check_fresh(caller)
        client = await clients.create_client(stores, data.name, data.scopes, by=caller.name)
        return Response(client, status_code=201, headers={"Location": f"{CLIENTS}/{client.name}"})

    @get(summary="List clients")
    async def list_clients(self, stores: Opened) -> list[ClientView]:
        return await clients.list_clients(stores)

    @get("/{name:str}", summary="Show a client")
    async def get_client(self, stores: Opened, name: FromPath[str]) -> ClientView:
        return await clients.get_client(stores, name)

    @patch("/{name:str}", summary="Change what a client may do")
    async def change_client(
        self, stores: Opened, caller: Calling, name: FromPath[str], data: JSONBody[ScopesChange]
    ) -> ClientView:
        """Holds at once, also for tokens that it has; those of its users do no more either."""
        check_fresh(caller)
        return await clients.change_scopes(stores, name, data.scopes, by=caller.name, reason=data.reason)

    @post("/{name:str}/disable", status_code=200, summary="Keep a client out")
    async def disable_client(
        self, stores: Opened, caller: Calling, name: FromPath[str], data: JSONBody[Decision]
    ) -> ClientView:
        """Its tokens, and those of users who signed in through it, are refused at once."""
        return await clients.enable_client(stores, name, enabled=False, by=caller.name, reason=data.reason)

    @post("/{name:str}/enable", status_code=200, summary="Let a client in again")
    async def enable_client(
        self, stores: Opened, caller: Calling, name: FromPath[str], data: JSONBody[Decision]
    ) -> ClientView:
        check_fresh(caller)
        return await clients.enable_client(stores, name, enabled=True, by=caller.name, reason=data.reason)

    @post("/{name:str}/credentials", summary="Give a client a credential")
    async def add_credential(
        self, stores: Opened, caller: Calling, name: FromPath[str], data: JSONBody[CredentialOrder]
    ) -> Response[NewCredential]:
        """A secret is told this once. 409 where two are good already: revoke one first."""
        check_fresh(caller)
        made = await clients.add_credential(
            stores, name, by=caller.name, public_key=data.public_key, expires_at=data.expires_at
        )
        return Response(made, status_code=201)

    @delete("/{name:str}/credentials/{credential_id:uuid}", status_code=200, summary="Revoke a credential")
    async def revoke_credential(
        self,
        *,
        stores: Opened,
        caller: Calling,
        name: FromPath[str],
        credential_id: FromPath[UUID],
        reason: Why,
    ) -> ClientView:
        return await clients.revoke_credential(stores, name, credential_id, by=caller.name, reason=reason)

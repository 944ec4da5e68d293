"""OAuth 2.0 for service clients: tokens (RFC 6749, 7523), introspection (RFC 7662), revocation (RFC 7009), discovery (RFC 8414)."""

import binascii
from base64 import b64decode
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, unquote_plus
from uuid import UUID

from litestar import Controller, Request, Response, get, post
from litestar.datastructures import State

from app.accounts import client_authentication, sessions
from app.accounts.admission import Caller, caller_of, standing
from app.accounts.calling import TOKEN_ENDPOINT
from app.accounts.client_authentication import ASSERTION_TYPE, Client, ClientRefusedError, ProvenClient
from app.accounts.permissions import Scope, spelled
from app.accounts.service import Accounts
from app.accounts.tokens import LIFETIME, Claims, TokenRefusedError

_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_FORM = "application/x-www-form-urlencoded"
_MOST_FIELDS = 20
_CLIENT_CREDENTIALS = "client_credentials"


class OAuthError(Exception):
    """What RFC 6749, section 5.2, has a token endpoint answer."""

    def __init__(self, error: str, description: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(description)
        self.error = error
        self.description = description
        self.status = status


def tell(request: Request[Any, Any, Any], error: OAuthError) -> Response[dict[str, str]]:
    """The error as clients of OAuth know it."""
    headers = dict(_NO_STORE)
    if error.status is HTTPStatus.UNAUTHORIZED and "authorization" in request.headers:
        headers["WWW-Authenticate"] = 'Basic realm="astrobookings-core"'
    content = {"error": error.error, "error_description": error.description}
    return Response(content, status_code=error.status, headers=headers)


class OAuth(Controller):
    """What a client does with its credentials."""

    path = "/oauth"
    tags = ("oauth",)
    exception_handlers = {OAuthError: tell}  # noqa: RUF012  (Litestar declares it so)

    @post("/token", status_code=200, summary="Get an access token for a client")
    async def issue_token(self, request: Request[Any, Any, Any], state: State) -> Response[dict[str, Any]]:
        """The client proves itself by HTTP Basic, by `client_id` and `client_secret`, or by a signed `client_assertion`."""
        accounts: Accounts = state.accounts
        form = await _form(request)
        client = await _authenticated(request, form, accounts)
        _check_grant(form)
        issued = await accounts.tokens.for_client(
            client.name, client.credential, _scopes(form.get("scope"), client)
        )
        content = {
            "access_token": issued.token,
            "token_type": "Bearer",
            "expires_in": int(LIFETIME.total_seconds()),
            "scope": issued.claims.scope,
        }
        return Response(content, headers=_NO_STORE)

    @post("/introspect", status_code=200, summary="Ask whether a token is good now")
    async def introspect_token(
        self, request: Request[Any, Any, Any], state: State
    ) -> Response[dict[str, Any]]:
        """A client is told of tokens that were issued to it or for it, and of any where it may `clients:admin`."""
        accounts: Accounts = state.accounts
        form = await _form(request)
        client = await _authenticated(request, form, accounts)
        return Response(await _state_of(accounts, _token(form), client), headers=_NO_STORE)

    @post("/revoke", status_code=200, summary="End the session of a token")
    async def revoke_token(self, request: Request[Any, Any, Any], state: State) -> Response[None]:
        """Both tokens of a session are good no more; what is no token of this client is no error.

        A client's own access token ends with its credential or after five minutes; it is an `unsupported_token_type`.
        """
        accounts: Accounts = state.accounts
        form = await _form(request)
        client = await _authenticated(request, form, accounts)
        if (found := await _session_of(accounts, _token(form), client)) is not None:
            user, session = found
            await sessions.sign_out(accounts.stores, user, session, by=f"client:{client.name}")
        return Response(None, headers=_NO_STORE)


@get("/.well-known/jwks.json", summary="The keys that access tokens are verified by", tags=["oauth"])
async def jwks(state: State) -> Response[dict[str, Any]]:
    """Keys are published a day before they sign: ask again for a key that you do not know, and every few hours."""
    accounts: Accounts = state.accounts
    return Response(
        {"keys": await accounts.tokens.keys.public()}, headers={"Cache-Control": "public, max-age=300"}
    )


@get(
    "/.well-known/oauth-authorization-server",
    summary="Where everything is",
    tags=["oauth"],
    sync_to_thread=False,
)
def metadata(state: State) -> dict[str, Any]:
    """RFC 8414, section 2."""
    accounts: Accounts = state.accounts
    issuer = accounts.tokens.issuer
    methods = ["client_secret_basic", "client_secret_post", "private_key_jwt"]
    told: dict[str, Any] = {
        "issuer": issuer,
        "token_endpoint": issuer + TOKEN_ENDPOINT,
        "jwks_uri": f"{issuer}/.well-known/jwks.json",
        "scopes_supported": list(Scope),
        "response_types_supported": [],
        "grant_types_supported": [_CLIENT_CREDENTIALS],
        "introspection_endpoint": f"{issuer}/oauth/introspect",
        "revocation_endpoint": f"{issuer}/oauth/revoke",
        "service_documentation": f"{issuer}/schema",
    }
    for endpoint in ("token", "introspection", "revocation"):
        told[f"{endpoint}_endpoint_auth_methods_supported"] = methods
        told[f"{endpoint}_endpoint_auth_signing_alg_values_supported"] = client_authentication.ALGORITHMS
    return told


async def _form(request: Request[Any, Any, Any]) -> dict[str, str]:
    """The body's parameters; each may be there once (RFC 6749, section 3.2)."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != _FORM:
        raise OAuthError("invalid_request", f"the body must be {_FORM}")
    try:
        pairs = parse_qsl(
            (await request.body()).decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            max_num_fields=_MOST_FIELDS,
            errors="strict",
        )
    except ValueError as error:
        raise OAuthError("invalid_request", "the body is no form") from error
    if len(dict(pairs)) < len(pairs):
        raise OAuthError("invalid_request", "a parameter is given more than once")
    return {name: value for name, value in pairs if value}


async def _authenticated(
    request: Request[Any, Any, Any], form: dict[str, str], accounts: Accounts
) -> ProvenClient:
    """The client that has proven itself, by one way only (RFC 6749, section 2.3)."""
    basic = _basic(request)
    given = [basic is not None, "client_secret" in form, "client_assertion" in form]
    if sum(given) > 1:
        raise OAuthError("invalid_request", "the client proves itself in more than one way")
    if basic is not None and form.get("client_id", basic[0]) != basic[0]:
        raise OAuthError("invalid_request", "client_id is another client's than the one that proves itself")
    try:
        if basic is not None:
            return await accounts.clients.by_secret(*basic)
        if "client_assertion" in form:
            if form.get("client_assertion_type") != ASSERTION_TYPE:
                raise OAuthError("invalid_request", f"client_assertion_type must be {ASSERTION_TYPE}")
            return await accounts.clients.by_assertion(form["client_assertion"], form.get("client_id"))
        return await accounts.clients.by_secret(form.get("client_id", ""), form.get("client_secret", ""))
    except ClientRefusedError as error:
        raise OAuthError("invalid_client", str(error), HTTPStatus.UNAUTHORIZED) from error


def _basic(request: Request[Any, Any, Any]) -> tuple[str, str] | None:
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, _, secret = b64decode(text, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        name, secret = "", ""
    # Both are form-encoded first (RFC 6749, section 2.3.1).
    return unquote_plus(name), unquote_plus(secret)


def _check_grant(form: dict[str, str]) -> None:
    if "grant_type" not in form:
        raise OAuthError("invalid_request", "grant_type is required")
    if form["grant_type"] != _CLIENT_CREDENTIALS:
        raise OAuthError("unsupported_grant_type", f"grant_type must be {_CLIENT_CREDENTIALS}")


def _scopes(asked: str | None, client: Client) -> Sequence[Scope]:
    """What the token is to be good for: what is asked for, else all that the client may."""
    wanted = set((asked or " ".join(client.scopes)).split(" "))
    if refused := sorted(wanted - {each.value for each in client.scopes}):
        raise OAuthError(
            "invalid_scope", f"not this client's: {', '.join(map(repr, refused))[:200]}".replace('"', "'")
        )
    return [each for each in Scope if each in wanted]


def _token(form: dict[str, str]) -> str:
    if "token" not in form:
        raise OAuthError("invalid_request", "token is required")
    return form["token"]


async def _state_of(accounts: Accounts, token: str, client: Client) -> dict[str, Any]:
    """What RFC 7662, section 2.2, tells of an access token; of anything else no more than that it is not active.

    What is another's is told to nobody (RFC 7662, section 4), and of scopes and roles what is left of them now.
    """
    claims = await _claims(accounts, token)
    if claims is None or not (
        client.name in (claims.client_id, claims.aud) or Scope.CLIENTS_ADMIN in client.scopes
    ):
        return {"active": False}
    caller = await standing(accounts, caller_of(claims))
    return {"active": False} if caller is None else _told(claims, caller)


async def _claims(accounts: Accounts, token: str) -> Claims | None:
    try:
        return await accounts.tokens.read(token)
    except TokenRefusedError:
        return None


def _told(claims: Claims, caller: Caller) -> dict[str, Any]:
    told = {name: getattr(claims, name) for name in ("iss", "sub", "aud", "client_id", "exp", "iat", "jti")}
    told |= {"active": True, "token_type": "Bearer", "scope": spelled(caller.scopes)}
    if claims.sid:
        told |= {"sid": claims.sid, "auth_time": claims.auth_time, "amr": claims.amr}
        told["roles"] = sorted(caller.roles)
    return told


async def _session_of(accounts: Accounts, token: str, client: Client) -> tuple[UUID, UUID] | None:
    """User and session of either token, where it is this client's. Raises OAuthError for a token of the client itself."""
    if (found := await sessions.session_of_token(accounts.stores, token, client.name)) is not None:
        return found
    claims = await _claims(accounts, token)
    if claims is None or claims.client_id != client.name:
        return None
    if claims.user is None or claims.sid is None:
        raise OAuthError("unsupported_token_type", "this one ends with the credential it was got with")
    return claims.user, claims.sid

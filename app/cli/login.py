"""`astrocore login`, `logout`, `whoami`, `token`: who the commands act as."""

from http import HTTPStatus
from typing import Annotated, Any

import httpx
import msgspec
import typer

from app.accounts.calling import ClientCredentials
from app.accounts.views import UserView
from app.cli import output, session_file
from app.cli.client import SIGN_IN, Api, as_client, auth_of, connect, reaching, refusal, url_of
from app.cli.errors import CommandError
from app.cli.options import AsJson
from config.settings import settings

_NEEDS_CODE = "urn:astrobookings:problem:second-factor-needed"


class _SignedIn(msgspec.Struct):
    refresh_token: str


def login(
    email: Annotated[str, typer.Argument(help="The address of your account.", show_default=False)],
    code: Annotated[
        str | None, typer.Option(help="A code of the second factor. Default: asked for.", show_default=False)
    ] = None,
) -> None:
    """Act as a user from now on, until `logout` or a day later. Asks for the password."""
    password = typer.prompt("Password", hide_input=True, err=True)
    with connect(auth=_through()) as api:
        body: dict[str, Any] = {"email": email, "password": password, "device": "astrocore"}
        signed_in = _sign_in(api, body | ({"code": code} if code else {}))
    session_file.write(settings(), signed_in.refresh_token)
    print(f"signed in as {email}")


def logout() -> None:
    """Act as the client alone again."""
    token = session_file.read(settings())
    if token is None:
        print("nobody was signed in")
        return
    with connect(auth=_through()) as api:
        api.send(("auth", "logout"), {"refresh_token": token})
    session_file.remove(settings())
    print("signed out")


def whoami(as_json: AsJson = False) -> None:
    """Tell who the commands act as."""
    if session_file.read(settings()) is None:
        told: Any = {"client": _through().name}
        lines = [("client", told["client"])]
    else:
        with connect() as api:
            told = api.get(("me",), UserView)
        lines = [
            ("user", told.email or output.NOTHING),
            ("id", str(told.id)),
            ("roles", ", ".join(told.roles) or output.NOTHING),
            ("second factor", "yes" if told.second_factor else "no"),
        ]
    if as_json:
        output.print_json(told)
    else:
        output.stdout().print(output.facts(lines))


def token() -> None:
    """Print an access token, good for five minutes.

    As in: curl -H "Authorization: Bearer $(astrocore token)" URL.
    """
    auth = auth_of(settings())
    if auth is None:
        raise CommandError("no client is known", SIGN_IN)
    url = url_of(settings())
    with httpx.Client(base_url=url, timeout=30, trust_env=False) as http, reaching(url):
        print(_fetched(auth.token_flow(httpx.URL(url)), http))


def _fetched(flow: Any, http: httpx.Client) -> str:
    try:
        request = next(flow)
        while True:
            request = flow.send(http.send(request))
    except StopIteration as end:
        return str(end.value)


def _sign_in(api: Api, body: dict[str, Any]) -> _SignedIn:
    with reaching(api.url):
        response = api.http.post("/v1/auth/login", json=body)
    if response.is_success:
        return msgspec.json.decode(response.content, type=_SignedIn)
    if (
        response.status_code == HTTPStatus.UNAUTHORIZED
        and "code" not in body
        and _NEEDS_CODE in response.text
    ):
        return _sign_in(api, body | {"code": typer.prompt("Code of the second factor", err=True)})
    error = refusal(response, api.url)
    raise CommandError(error.what, None if response.status_code == HTTPStatus.UNAUTHORIZED else error.hint)


def _through() -> ClientCredentials:
    client = as_client(settings())
    if client is None:
        raise CommandError("no client is known", SIGN_IN)
    return client

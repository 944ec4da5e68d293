"""`astrocore login`, `logout`, `whoami`, `token`: who the commands act as."""

import socket
from contextlib import closing, suppress
from http import HTTPStatus
from typing import Annotated, Any

import httpx
import msgspec
import typer

from app.accounts.calling import Bearer, ClientCredentials
from app.accounts.views import UserView
from app.cli import output
from app.cli.client import SIGN_IN, Api, as_client, auth_of, connect, reaching, refusal, url_of
from app.cli.errors import CommandError
from app.cli.options import AsJson
from app.cli.session_file import SessionFile
from config.settings import settings

_NEEDS_CODE = "urn:astrobookings:problem:second-factor-needed"


class _SignedIn(msgspec.Struct):
    refresh_token: str
    session: str
    user: str


def login(
    email: Annotated[str, typer.Argument(help="The address of your account.", show_default=False)],
    code: Annotated[
        str | None, typer.Option(help="A code of the second factor. Default: asked for.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Act as a user from now on, until `logout` or a day later. Asks for the password."""
    password = typer.prompt("Password", hide_input=True, err=True)
    with connect(auth=_through()) as api:
        body = {
            "email": email,
            "password": password,
            "device": "astrocore",
            "client_ip": _own_address(api.url),
        }
        signed_in = _sign_in(api, body | ({"code": code} if code else {}))
    held = SessionFile.of(settings())
    before = _exchange(held, signed_in.refresh_token)
    if before:
        _leave(before)
    _say(f"signed in as {email}", {"user": signed_in.user, "session": signed_in.session}, as_json=as_json)


def logout(as_json: AsJson = False) -> None:
    """Act as the client alone again."""
    held = SessionFile.of(settings())
    with held.alone():
        token = held.read()
        if token:
            _end(held, token)
    _say("signed out" if token else "nobody was signed in", {"signed_out": bool(token)}, as_json=as_json)


def whoami(as_json: AsJson = False) -> None:
    """Tell who the commands act as."""
    if SessionFile.of(settings()).read() is None:
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


def token(as_json: AsJson = False) -> None:
    """Print an access token, good for five minutes.

    As in: curl -H "Authorization: Bearer $(astrocore token)" URL.
    """
    auth = auth_of(settings())
    if auth is None:
        raise CommandError("no client is known", SIGN_IN)
    url = url_of(settings())
    with httpx.Client(base_url=url, timeout=30, trust_env=False) as http, reaching(url):
        found = _fetched(auth, httpx.URL(url), http)
    _say(found, {"access_token": found}, as_json=as_json)


def _fetched(auth: Bearer, url: httpx.URL, http: httpx.Client) -> str:
    with closing(auth.token_flow(url)) as flow:
        try:
            request = next(flow)
            while True:
                request = flow.send(http.send(request))
        except StopIteration as end:
            return str(end.value)


def _exchange(held: SessionFile, token: str) -> str | None:
    """Keep a token; answers the one that was kept, where it could be read."""
    with held.alone():
        before = None
        with suppress(CommandError):  # what is damaged is written anew
            before = held.read()
        held.write(token)
    return before


def _leave(token: str) -> None:
    """End the session that another one takes the place of. Where nobody answers it ends by itself: nobody has its token."""
    with suppress(CommandError), connect(auth=_through()) as api:
        api.send(("auth", "logout"), {"refresh_token": token})


def _end(held: SessionFile, token: str) -> None:
    """Forget the token, whoever answers: without it the session goes on for nobody."""
    try:
        with connect(auth=_through()) as api:
            api.send(("auth", "logout"), {"refresh_token": token})
    except CommandError as error:
        raise CommandError(
            f"signed out here, but the session has not ended there: {error.what}",
            "nobody has its token any more, and it ends by itself within an hour",
        ) from None
    finally:
        held.remove()


def _say(line: str, document: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        output.print_json(document)
    else:
        print(line)


def _own_address(url: str) -> str:
    """The address of this machine on its way to the system. Raises CommandError where there is no way."""
    system = httpx.URL(url)
    port = system.port or (443 if system.scheme == "https" else 80)
    with reaching(url):
        try:
            family, kind, _, _, there = socket.getaddrinfo(system.host, port, type=socket.SOCK_DGRAM)[0]
            with socket.socket(family, kind) as probe:
                probe.connect(there)  # sends nothing
                return str(probe.getsockname()[0]).partition("%")[0]
        except OSError as error:
            raise httpx.ConnectError(str(error)) from error


def _sign_in(api: Api, body: dict[str, Any]) -> _SignedIn:
    response = api.ask("POST", ("auth", "login"), json=body)
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

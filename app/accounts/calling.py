"""How a client of this service comes by its access tokens: for the commands, and for whoever else calls from Python."""

import time
from collections.abc import AsyncGenerator, Generator
from contextlib import AbstractContextManager, closing, suppress
from http import HTTPStatus
from typing import Protocol

import httpx
import msgspec

TOKEN_ENDPOINT = "/oauth/token"  # noqa: S105  (a path)

# A token that is about to end is not sent any more.
_MARGIN_SECONDS = 15.0


class CredentialsRefusedError(Exception):
    """The service does not take the credentials."""


class SessionEndedError(CredentialsRefusedError):
    """The user has to sign in again."""


class _Granted(msgspec.Struct):
    access_token: str
    expires_in: int


class _SignedIn(_Granted):
    refresh_token: str


class Bearer(httpx.Auth):
    """Bears an access token, gets another one before it ends, and once more where it is refused."""

    def __init__(self) -> None:
        self._token: str | None = None
        self._until = 0.0

    # Answers of our own requests are read; that of the caller's may go on for hours, and is theirs to read.

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        with closing(self.auth_flow(request)) as flow, suppress(StopIteration):
            wanted = next(flow)
            while True:
                response = yield wanted
                if wanted is not request:
                    response.read()
                wanted = flow.send(response)

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        with closing(self.auth_flow(request)) as flow, suppress(StopIteration):
            wanted = next(flow)
            while True:
                response = yield wanted
                if wanted is not request:
                    await response.aread()
                wanted = flow.send(response)

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        fresh = self._token is None or time.monotonic() > self._until
        if fresh:
            yield from self._renew(request.url)
        request.headers["Authorization"] = f"Bearer {self._token}"
        response = yield request
        if not fresh and _is_refused(response):
            yield from self._renew(request.url)
            request.headers["Authorization"] = f"Bearer {self._token}"
            yield request

    def token_flow(self, url: httpx.URL) -> Generator[httpx.Request, httpx.Response, str]:
        """The requests that get an access token from the service at this address."""
        yield from self._renew(url)
        return str(self._token)

    def _renew(self, url: httpx.URL) -> Generator[httpx.Request, httpx.Response, None]:
        raise NotImplementedError

    def _keep(self, granted: _Granted) -> None:
        self._token = granted.access_token
        self._until = time.monotonic() + granted.expires_in - _MARGIN_SECONDS


class ClientCredentials(Bearer):
    """Calls as a client, by its name and its secret. Raises CredentialsRefusedError where they are not taken."""

    def __init__(self, name: str, secret: str) -> None:
        super().__init__()
        self.name = name
        self._secret = secret

    def _renew(self, url: httpx.URL) -> Generator[httpx.Request, httpx.Response, None]:
        form = {"grant_type": "client_credentials", "client_id": self.name, "client_secret": self._secret}
        response = yield httpx.Request("POST", url.join(TOKEN_ENDPOINT), data=form)
        if response.status_code == HTTPStatus.UNAUTHORIZED:
            raise CredentialsRefusedError(
                f"the client {self.name} is not known there, or its secret is wrong"
            )
        response.raise_for_status()
        self._keep(msgspec.json.decode(response.content, type=_Granted))


class RefreshToken(Protocol):
    """Keeps the refresh token of a session, which others may use too."""

    def alone(self) -> AbstractContextManager[None]:
        """Keep the others from it, for as long as it is read, used and replaced."""

    def read(self) -> str | None:
        """The token that is good now; None once somebody has signed out."""

    def write(self, token: str, /) -> None:
        """Keep the token that takes its place."""


class UserSession(Bearer):
    """Calls as the user who has signed in, through a client. Raises SessionEndedError.

    A refresh token is good once, and ends its session when it is used again; so it is read anew each time.
    """

    def __init__(self, through: ClientCredentials, refresh_token: RefreshToken) -> None:
        super().__init__()
        self._through = through
        self._refresh_token = refresh_token

    def _renew(self, url: httpx.URL) -> Generator[httpx.Request, httpx.Response, None]:
        with self._refresh_token.alone():
            token = self._refresh_token.read()
            if token is None:
                raise SessionEndedError("you are signed out")
            signed_in = yield from self._refreshed(url, token)
            self._refresh_token.write(signed_in.refresh_token)
        self._keep(signed_in)

    def _refreshed(self, url: httpx.URL, token: str) -> Generator[httpx.Request, httpx.Response, _SignedIn]:
        request = httpx.Request("POST", url.join("/v1/auth/refresh"), json={"refresh_token": token})
        response = yield from _through(self._through, request)
        if response.status_code == HTTPStatus.UNAUTHORIZED:
            raise SessionEndedError("you are signed out")
        response.raise_for_status()
        return msgspec.json.decode(response.content, type=_SignedIn)


def _is_refused(response: httpx.Response) -> bool:
    """Whether it is the token that is not taken (RFC 6750, section 3), and not a password that was asked about."""
    asked = response.headers.get("WWW-Authenticate", "")
    return response.status_code == HTTPStatus.UNAUTHORIZED and asked.lower().startswith("bearer")


def _through(
    auth: httpx.Auth, request: httpx.Request
) -> Generator[httpx.Request, httpx.Response, httpx.Response]:
    """The requests that another way of proving oneself needs, and the last answer."""
    response: httpx.Response | None = None
    with closing(auth.auth_flow(request)) as flow, suppress(StopIteration):
        wanted = next(flow)
        while True:
            response = yield wanted
            wanted = flow.send(response)
    if response is None:
        raise RuntimeError("nothing was asked")
    return response

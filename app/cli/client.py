"""The running system's REST API, as the commands see it."""

import json
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from app.accounts.calling import (
    Bearer,
    ClientCredentials,
    CredentialsRefusedError,
    SessionEndedError,
    UserSession,
)
from app.cli.errors import CommandError, UnreachableError
from app.cli.session_file import SessionFile
from app.embedded.banner import web_url
from app.pages import LIMIT_MAX, Page
from config.hosts import is_private_way
from config.settings import PREFIX, Settings, settings

TIMEOUT_SECONDS = 30.0
STREAM_SECONDS = 45.0  # without a word; the server says one every 15
BASE = "/v1/reconciliation"
BESIDE = dict.fromkeys(
    (
        "audit",
        "auth",
        "clients",
        "logs",
        "me",
        "notification-templates",
        "notifications",
        "schedules",
        "users",
    ),
    "/v1",
)  # what does not lie below BASE, by the first part of its path

SIGN_IN = (
    f"set {PREFIX}CLIENT_ID and {PREFIX}CLIENT_SECRET to those of a client of that system, or {PREFIX}DATA_DIR to its "
    "data directory"
)

Answer = TypeVar("Answer")
Path = tuple[str, ...]  # below BASE; each part is quoted

_RECORDS = "records"  # below it, the key of a record may hold any letters
_NO_NAMES = frozenset({"", ".", ".."})  # as parts of a path they lead to what lies above
_KEY = re.compile(r"[\x21-\x7e]+")
_SHOWN = 100

_HINTS = {
    HTTPStatus.UNAUTHORIZED: SIGN_IN,
    HTTPStatus.FORBIDDEN: "`astrocore login` signs you in as a user who may, `astrocore whoami` tells who you are",
    HTTPStatus.SERVICE_UNAVAILABLE: "`astrocore doctor` shows which part is away",
    HTTPStatus.INTERNAL_SERVER_ERROR: "the log of the web process says more",
}


@dataclass(frozen=True)
class Api:
    """Calls that answer what they are asked for or raise CommandError."""

    http: httpx.Client
    url: str

    def get(self, path: Path, kind: type[Answer], /, **parameters: object) -> Answer:
        """Read what lies at a path below the API; a parameter that is None is left out."""
        return _decode(self._call("GET", path, params=_given(parameters)), kind)

    def post(self, path: Path, kind: type[Answer], body: dict[str, Any], *, key: str | None = None) -> Answer:
        """Post what is to be made, once however often it is sent under one `key`."""
        headers = {} if key is None else {"Idempotency-Key": _sendable(key)}
        return _decode(self._call("POST", path, json=body, headers=headers), kind)

    def patch(self, path: Path, kind: type[Answer], body: dict[str, Any]) -> Answer:
        return _decode(self._call("PATCH", path, json=body), kind)

    def delete(self, path: Path, kind: type[Answer] | None = None, /, **parameters: object) -> Any:
        """Delete what lies at a path; answers what is told of it, where something is."""
        response = self._call("DELETE", path, params=_given(parameters))
        return None if kind is None else _decode(response, kind)

    def send(self, path: Path, body: dict[str, Any]) -> None:
        """Post where nothing is answered."""
        self._call("POST", path, json=body)

    @contextmanager
    def stream(
        self, path: Path, headers: dict[str, str], /, **parameters: object
    ) -> Iterator[Iterator[bytes]]:
        """What comes from a path below the API, piece by piece, for as long as the block lasts."""
        options = {"params": _given(parameters), "headers": headers, "timeout": STREAM_SECONDS}
        request = self._request("GET", path, **options)
        with reaching(self.url), closing(self.http.send(request, stream=True)) as response:
            if not response.is_success:
                response.read()
                raise refusal(response, self.url)
            yield response.iter_bytes()

    def ask(self, method: str, path: Path, **options: Any) -> httpx.Response:
        """What is answered, also where that is a refusal."""
        request = self._request(method, path, **options)
        with reaching(self.url):
            return self.http.send(request)

    def _call(self, method: str, path: Path, **options: Any) -> httpx.Response:
        response = self.ask(method, path, **options)
        if response.is_success:
            return response
        raise refusal(response, self.url)

    def _request(self, method: str, path: Path, **options: Any) -> httpx.Request:
        """What is to be sent; raises CommandError for what was typed and cannot be."""
        try:
            return self.http.build_request(method, _url(path), **options)
        except UnicodeEncodeError as error:
            # Of a body only the name is told: a password may stand in it.
            named = (name for name, value in options.get("json", {}).items() if not _is_utf8(value))
            what = next(named, repr(error.object[:_SHOWN]))
            raise CommandError(
                f"{what} cannot be sent: it is no UTF-8", "type it anew, in a terminal that speaks UTF-8"
            ) from None
        except httpx.InvalidURL as error:
            raise CommandError(
                f"what was typed cannot be sent: {error}", "names, ids and filters are shorter"
            ) from None


@contextmanager
def reaching(url: str) -> Iterator[None]:
    """Tell as UnreachableError what keeps the system from answering."""
    try:
        yield
    except SessionEndedError as error:
        raise CommandError(
            str(error), "`astrocore login` signs you in again, `astrocore logout` goes on without"
        ) from None
    except CredentialsRefusedError as error:
        raise CommandError(str(error), SIGN_IN) from None
    except httpx.ConnectError:
        raise UnreachableError(
            f"no running system was found at {url}",
            "start one with `astrocore up`, or say where it is with "
            f"{PREFIX}DATA_DIR, {PREFIX}ISSUER, or {PREFIX}WEB_HOST and {PREFIX}WEB_PORT",
        ) from None
    except httpx.TimeoutException:
        raise UnreachableError(
            f"the system at {url} did not answer within {TIMEOUT_SECONDS:.0f} s",
            "`astrocore doctor` shows which part is away",
        ) from None
    except httpx.HTTPStatusError as error:  # of the calls by which the commands prove who they are
        raise refusal(error.response, url) from None
    except httpx.HTTPError as error:
        raise UnreachableError(
            f"the connection to {url} broke: {error}", "look whether the call took effect"
        ) from None


def _given(parameters: dict[str, object]) -> dict[str, Any]:
    """The parameters that have a value; one that may be repeated is a list. Raises CommandError for one that is empty."""
    for name, value in parameters.items():
        if value == "":  # where the system takes it for none, what is found is everything
            raise CommandError(f"{name} is empty", "give it a value, or leave it out")
    return {
        name: value if isinstance(value, list) else str(value)
        for name, value in parameters.items()
        if value is not None
    }


def _is_utf8(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _sendable(key: str) -> str:
    """The key, which a header takes as it is; raises CommandError for one that none takes."""
    if not _KEY.fullmatch(key):
        raise CommandError(
            f"{key[:_SHOWN]!r} is no key", "one is of visible ASCII characters, such as a UUID"
        )
    return key


def _url(path: Path) -> str:
    """Raises CommandError for a part that names nothing: the path would be that of another resource."""
    for part in path:
        if part in _NO_NAMES or ("/" in part and path[0] != _RECORDS):
            raise CommandError(
                f"{part[:_SHOWN]!r} names nothing", "give a name or an id as the lists show it"
            )
    return "/".join((BESIDE.get(path[0], BASE), *(quote(part, safe="") for part in path)))


@contextmanager
def connect(chosen: Settings | None = None, *, auth: httpx.Auth | None = None) -> Iterator[Api]:
    """The API of the running system that the settings name, called as whoever `auth_of` tells, or as `auth`."""
    chosen = chosen or settings()
    url = url_of(chosen)
    # Proxies of the environment are for the outside world.
    with httpx.Client(
        base_url=url, auth=auth or auth_of(chosen), timeout=TIMEOUT_SECONDS, trust_env=False
    ) as http:
        yield Api(http, url)


def url_of(chosen: Settings) -> str:
    """Where the system that the settings name answers. Raises CommandError where somebody could listen on the way."""
    here = {f"{PREFIX}WEB_HOST": chosen.web_host, f"{PREFIX}WEB_PORT": str(chosen.web_port)}
    url = chosen.issuer or web_url(here)
    if chosen.environment != "embedded" and not is_private_way(url):
        raise CommandError(
            f"{url} is not called: passwords and secrets would cross the network in clear",
            f"set {PREFIX}ISSUER to the https:// address of the system",
        )
    return url


def auth_of(chosen: Settings) -> Bearer | None:
    """How the commands prove who calls: as the user who has signed in, else as the client; None where there is neither."""
    through = as_client(chosen)
    if through is None:
        return None
    session = SessionFile.of(chosen)
    return through if session.read() is None else UserSession(through, session)


def as_client(chosen: Settings) -> ClientCredentials | None:
    """The client that the settings name."""
    if not chosen.client_id or chosen.client_secret is None:
        return None
    return ClientCredentials(chosen.client_id, chosen.client_secret.get_secret_value())


def every(api: Api, path: Path, kind: type[Answer], /, **parameters: object) -> Iterator[Answer]:
    """Every item of a list, page by page."""
    cursor: str | None = None
    while True:
        page = api.get(path, Page[kind], **parameters, limit=LIMIT_MAX, cursor=cursor)  # type: ignore[valid-type]
        yield from page.items
        if (cursor := page.next_cursor) is None:
            return


class _Fault(msgspec.Struct):
    where: str
    message: str


class _Problem(msgspec.Struct):
    detail: str
    instance: str | None = None
    errors: list[_Fault] = []


def refusal(response: httpx.Response, url: str) -> CommandError:
    """The error that an answer of the API tells of."""
    try:
        problem = msgspec.json.decode(response.content, type=_Problem)
    except msgspec.MsgspecError:
        return CommandError(
            f"{url} answered {response.status_code}, and not as AstroBookings Core does",
            f"another program may listen there; see {PREFIX}WEB_PORT",
        )
    what = [problem.detail, *(f"  {fault.where}: {fault.message}" for fault in problem.errors)]
    hint = _HINTS.get(HTTPStatus(response.status_code))
    if response.status_code == HTTPStatus.TOO_MANY_REQUESTS and "retry-after" in response.headers:
        hint = f"try again in {response.headers['retry-after']} s"
    if problem.instance:
        hint = f"see {url}{problem.instance}"
        collection, _, identity = problem.instance.removeprefix(BASE + "/").partition("/")
        if collection == "runs":
            hint = f"`astrocore runs show {identity}`, or {url}{problem.instance}"
    kind = UnreachableError if response.status_code == HTTPStatus.SERVICE_UNAVAILABLE else CommandError
    return kind("\n".join(what), hint)


def _decode(response: httpx.Response, kind: type[Answer]) -> Answer:
    try:
        return msgspec.json.decode(response.content, type=kind)
    except msgspec.MsgspecError as error:
        raise CommandError(
            f"the answer of {response.url} cannot be read: {error}",
            "the running system may be of another version than this command",
        ) from None

"""Pages as they leave: made from a template, with headers that let browsers do nothing else with them."""

import re
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import Request, Response, get
from litestar.plugins.jinja import JinjaTemplateEngine
from litestar.response import Redirect, Template
from litestar.template import TemplateConfig
from msgspec import UNSET, Struct

from app.accounts.admission import Caller
from app.accounts.permissions import Scope
from app.embedded.mailbox import Mailbox
from config.correlation import current
from web.console.cookie import cookie_of, form_token, is_relaxed, secret_of
from web.console.guard import SignInFirstError
from web.guards import Calling, needs_user
from web.problems import Problem, respond

CONSOLE = "/console"
ACCOUNT = f"{CONSOLE}/account"
SIGN_IN = f"{CONSOLE}/sign-in"
FORGOT = f"{CONSOLE}/forgot"
NOTIFICATIONS = f"{CONSOLE}/notifications"
SCHEDULES = f"{CONSOLE}/schedules"
MAILBOX = f"{CONSOLE}/mailbox"

_HERE = Path(__file__).parent
_STYLE = (_HERE / "style.css").read_bytes()
_STYLE_URL = f"{CONSOLE}/style.css?{sha256(_STYLE).hexdigest()[:16]}"
_INSIDE = re.compile(rf"{CONSOLE}(/[\w:~-]+)*(\?[\w=&%.,:~+-]*)?", re.ASCII)
_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_TLS_ONLY = {"Strict-Transport-Security": "max-age=31536000; includeSubDomains"}

# What a page says that one is led to once something is done.
NOTICES = {
    "language": "The language of your mails is changed.",
    "password": "Your password is changed. Everywhere else you are signed out.",
    "session": "That session has ended.",
    "removed": "The second factor is removed, and you are signed out everywhere. Sign in again.",
    "signed-out": "You are signed out.",
    "again": "For this you have to sign in again: your last sign-in was more than ten minutes ago.",
    "everywhere": "You are signed out everywhere.",
    "asked": "If a user has this address, a mail is on its way to it. Its link is good for ten minutes.",
    "reset": "Your new password is set, and you are signed out everywhere.",
    "verified": "Thank you: the address is yours.",
    "changed": "The address is yours now. You are signed out everywhere but where you asked for that.",
    "cancelled": "The mail is taken back.",
    "rescheduled": "The mail goes at another time now.",
    "retried": "The mail is sent again: this is the new one.",
    "resolved": "That is settled.",
    "enabled": "The schedule is on.",
    "disabled": "The schedule is off.",
    "triggered": "The schedule is fired: the scheduler sends it within two seconds.",
}

_PLACES: tuple[tuple[str, str, Scope], ...] = (
    (NOTIFICATIONS, "Mail", Scope.NOTIFICATIONS_READ),
    (SCHEDULES, "Schedules", Scope.NOTIFICATIONS_READ),
    (MAILBOX, "Mailbox", Scope.QUEUES_OPERATE),
)


class Place(Struct, frozen=True):
    """Where one can go; `current` is where one is, or what is below that."""

    path: str
    name: str
    current: bool


def sentence(message: str, subject: str = "") -> str:
    """What is wrong as a sentence: `is wrong` about the `Code` becomes `Code is wrong.`."""
    said = f"{subject} {message}" if subject and re.match(r"(is|has|holds|must)\b", message) else message
    return f"{said[:1].upper()}{said[1:].rstrip('.')}."


def templates() -> TemplateConfig[JinjaTemplateEngine]:
    """How pages are made: what is put into them is escaped, and what is missing is an error."""
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters["sentence"] = sentence
    environment.globals["style"] = _STYLE_URL
    return TemplateConfig(instance=JinjaTemplateEngine(engine_instance=environment))


@get("/", opt=needs_user(), sync_to_thread=False)
def index(request: Request[Any, Any, Any], caller: Calling) -> Response[Any]:
    """The mail, for whoever may see it; the account of everybody else."""
    return redirect(request, NOTIFICATIONS if Scope.NOTIFICATIONS_READ in caller.scopes else ACCOUNT)


@get("/style.css", sync_to_thread=False)
def style(request: Request[Any, Any, Any]) -> Response[bytes]:
    """How pages look. Its address is another one when it changes, so that browsers may keep it."""
    headers = headers_for(request) | {"Cache-Control": "public, max-age=31536000, immutable"}
    return Response(_STYLE, media_type="text/css", headers=headers)


def page(
    request: Request[Any, Any, Any],
    name: str,
    *,
    secret: str | None = None,
    error: Response[Problem] | None = None,
    framing: bool = False,
    **context: Any,
) -> Template:
    """A page, for the browser that asks or for the `secret` that it is given now.

    `error` is what went wrong before: its status and headers become the page's. One that is `framing` may show another page of ours
    inside.
    """
    kept = secret_of(request)
    token = secret or kept
    caller = request.scope["state"].get("caller")
    return Template(
        f"{name}.html",
        context={
            "csrf": form_token(token) if token else None,
            "caller": caller,
            "places": _places(request, caller) if caller else [],
            "notice": NOTICES.get(request.query_params.get("done", "")) if error is None else None,
            "problem": error.content if error else None,
            "faults": _faults(error.content) if error else {},
            "retry_after": error.headers.get("Retry-After") if error else None,
            **context,
        },
        status_code=(error.status_code if error else None) or 200,
        headers={**headers_for(request, framing=framing), **(error.headers if error else {})},
        cookies=[cookie_of(request, secret)] if secret and secret != kept else None,
    )


def redirect(request: Request[Any, Any, Any], path: str, *, secret: str | None = None) -> Redirect:
    """Lead on to a page that is looked at (303), with another cookie where the secret is another one."""
    cookies = [cookie_of(request, secret)] if secret else None
    return Redirect(path, status_code=303, headers=headers_for(request), cookies=cookies)


def show_error(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """The page that tells what went wrong; whoever has not signed in is led to where they do."""
    if isinstance(error, SignInFirstError):
        return redirect(request, _to_sign_in(request, error))
    known = current()
    return page(
        request, "error", error=respond(request, error), request_id=known.request_id if known else None
    )


def _to_sign_in(request: Request[Any, Any, Any], error: SignInFirstError) -> str:
    """Where one signs in, and then comes back to what was looked at."""
    if error.notice:
        return f"{SIGN_IN}?done={error.notice}"
    wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    looked = request.method == "GET" and wanted not in (CONSOLE, f"{CONSOLE}/") and inside(wanted) == wanted
    return f"{SIGN_IN}?next={quote(wanted)}" if looked else SIGN_IN


def inside(path: str) -> str:
    """The path where it is one of the console; else the first page. No link of ours leads anywhere else."""
    return path if _INSIDE.fullmatch(path) else CONSOLE


def headers_for(
    request: Request[Any, Any, Any], *, framing: bool = False, policy: str | None = None
) -> dict[str, str]:
    """What every answer of the console bears; `policy` in place of that of pages."""
    given = policy or (f"{_POLICY}; frame-src 'self'" if framing else _POLICY)
    headers = _HEADERS | {"Content-Security-Policy": given}
    return headers if is_relaxed(request) else headers | _TLS_ONLY


def _places(request: Request[Any, Any, Any], caller: Caller) -> list[Place]:
    """What the caller may look at, and is there."""
    here = request.url.path
    mailbox = Mailbox.of(request.app.state.stores.settings) is not None
    return [
        Place(path, name, here == path or here.startswith(f"{path}/"))
        for path, name, needed in _PLACES
        if needed in caller.scopes and (mailbox or path != MAILBOX)
    ]


def _faults(problem: Problem) -> dict[str, list[str]]:
    """What is wrong, by field."""
    found: dict[str, list[str]] = {}
    for each in problem.errors if problem.errors is not UNSET else ():
        found.setdefault(each.where, []).append(each.message)
    return found

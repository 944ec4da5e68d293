"""Ending mails by the link that is in each of them, without signing in (RFC 8058)."""

from dataclasses import dataclass
from html import escape
from typing import Any

from litestar import Request, Response, get, post
from litestar.enums import MediaType, RequestEncodingType
from litestar.exceptions import ClientException
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPIMediaType, Operation, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIType
from litestar.params import FromPath
from msgspec import Struct

from app.clock import now
from app.errors import ConflictError, NotFoundError
from app.notifications.addresses import suppressing
from app.notifications.addresses.links import read_unsubscribe_token
from app.notifications.delivering.letters import UNSUBSCRIBABLE
from app.notifications.ledger import queries
from app.notifications.ledger.views import NotificationView
from app.stores.connections import Stores
from web.stores import Opened

FIELD, ONE_CLICK = "List-Unsubscribe", "One-Click"
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex",
}


class Words(Struct, frozen=True):
    """The page in one language; `kinds` is what mails of a kind are called."""

    question: str
    explained: str
    button: str
    done: str
    undone: str
    stale: str
    kinds: dict[str, str]


WORDS = {
    "en": Words(
        question="Unsubscribe from {kind}?",
        explained="Mail about your own bookings and your account comes all the same.",
        button="Unsubscribe",
        done="You get no more {kind} from AstroBookings.",
        undone="This mail is about something of yours: it cannot be unsubscribed from.",
        stale="This link is not good any more.",
        kinds={"alert": "news of launches", "digest": "summaries"},
    ),
    "es": Words(
        question="¿Quieres dejar de recibir {kind}?",
        explained="Seguirás recibiendo los correos sobre tus reservas y tu cuenta.",
        button="Darme de baja",
        done="AstroBookings ya no te enviará {kind}.",
        undone="Este correo trata de algo tuyo: no es posible darse de baja.",
        stale="Este enlace ya no es válido.",
        kinds={"alert": "novedades de lanzamientos", "digest": "resúmenes"},
    ),
}
_PAGE = """<!doctype html>
<html lang="{lang}"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>AstroBookings</title><style>
:root {{ color-scheme: light dark }}
body {{ font: 1.05rem/1.5 system-ui, sans-serif; max-width: 34rem; margin: 15vh auto; padding: 0 1.2rem }}
button {{ font: inherit; font-weight: 600; padding: .6rem 1.4rem; border: 0; border-radius: .4rem; background: #3b47c9; color: #fff; cursor: pointer }}
</style></head><body><main><h1>{title}</h1>{rest}</main></body></html>
"""
_FORM = """<p>{explained}</p><form method="post"><input type="hidden" name="{field}" value="{value}"><button>{button}</button></form>"""


@dataclass
class _OneClick(Operation):
    """What the button sends, and mail programs do, in /schema."""

    def __post_init__(self) -> None:
        field = Schema(type=OpenAPIType.STRING, const=ONE_CLICK)
        form = OpenAPIMediaType(
            schema=Schema(type=OpenAPIType.OBJECT, properties={FIELD: field}, required=[FIELD])
        )
        kinds = (RequestEncodingType.URL_ENCODED, RequestEncodingType.MULTI_PART)
        self.request_body = RequestBody(content=dict.fromkeys(kinds, form), required=True)


_PAGES = {
    404: ResponseSpec(str, media_type=MediaType.HTML, description="The link is not good any more"),
    409: ResponseSpec(str, media_type=MediaType.HTML, description="This mail cannot be unsubscribed from"),
}


@get(
    "/notifications/unsubscribe/{token:str}",
    media_type=MediaType.HTML,
    responses=_PAGES,
    summary="Show the page by which a recipient ends mails",
    tags=["notifications"],
)
async def show_unsubscribe_page(stores: Opened, token: FromPath[str]) -> Response[str]:
    """Changes nothing: programs that look at the links of a mail unsubscribe nobody."""
    try:
        mail = await _mail(stores, token)
    except NotFoundError:
        return _page("en", WORDS["en"].stale, status=404)
    lang, words = _words(mail)
    if mail.kind not in UNSUBSCRIBABLE:
        return _page(lang, words.undone, status=409)
    form = _FORM.format(
        explained=escape(words.explained), field=FIELD, value=ONE_CLICK, button=escape(words.button)
    )
    return _page(lang, words.question.format(kind=words.kinds[mail.kind]), form)


@post(
    "/notifications/unsubscribe/{token:str}",
    status_code=200,
    media_type=MediaType.HTML,
    operation_class=_OneClick,
    responses=_PAGES,
    summary="End mails of a kind to their recipient",
    tags=["notifications"],
)
async def unsubscribe(stores: Opened, token: FromPath[str], request: Request[Any, Any, Any]) -> Response[str]:
    """By the button of the page, or by the recipient's mail program (RFC 8058). Once they are ended, it is no fault to end them."""
    if await _field(request) != ONE_CLICK:
        raise ClientException(f"the body is a form in which {FIELD} is {ONE_CLICK}")
    try:
        mail = await _mail(stores, token)
        await suppressing.unsubscribe(stores, mail.id, moment=now())
    except NotFoundError:
        return _page("en", WORDS["en"].stale, status=404)
    except ConflictError:
        return _page(*_undone(mail), status=409)
    lang, words = _words(mail)
    return _page(lang, words.done.format(kind=words.kinds[mail.kind]))


async def _mail(stores: Stores, token: str) -> NotificationView:
    mail = await queries.get_notification(stores.core, read_unsubscribe_token(stores.settings, token))
    if mail.kind in UNSUBSCRIBABLE and mail.email is None:
        raise NotFoundError("its recipient is forgotten")
    return mail


async def _field(request: Request[Any, Any, Any]) -> object:
    try:
        return (await request.form()).get(FIELD)
    except (LookupError, ValueError) as error:  # a charset that there is not, or that the bytes are not in
        raise ClientException("the body is no form") from error


def _undone(mail: NotificationView) -> tuple[str, str]:
    lang, words = _words(mail)
    return lang, words.undone


def _words(mail: NotificationView) -> tuple[str, Words]:
    lang = mail.locale.replace("_", "-").lower().partition("-")[0]
    return (lang, WORDS[lang]) if lang in WORDS else ("en", WORDS["en"])


def _page(lang: str, title: str, rest: str = "", *, status: int = 200) -> Response[str]:
    page = _PAGE.format(lang=lang, title=escape(title), rest=rest)
    return Response(page, status_code=status, media_type=MediaType.HTML, headers=_HEADERS)

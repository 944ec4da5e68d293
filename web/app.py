"""The web process: ``granian --interface asgi web.app:app``."""

import gc
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

from litestar import Litestar, Request, Response, Router, get
from litestar.di import Provide

from app.accounts.admission import admit
from app.accounts.bootstrap import ensure_console
from app.accounts.encryption import safe_of
from app.accounts.service import Accounts
from app.logs.shipping import shipping
from app.notifications.asking.account_mails import AccountMails
from app.reconciliation.mapping import load_mappings
from app.stores.connections import open_stores
from config.logging import log_start, log_stop
from config.processes import die_with_parent
from config.settings import settings
from web import accounts, health, logs, notifications, oauth, reconciliation
from web.archives import Archives
from web.audit import Audit
from web.console import console
from web.console.pages import CONSOLE, show_error, templates
from web.erasures import Erasures
from web.guards import calling, needs_permission
from web.problems import MAX_BODY_BYTES, respond
from web.requests import with_request_id
from web.schedules import Schedules
from web.schema import TOKEN_SCHEME, VERSION, describe
from web.stores import held_accounts, opened_stores
from web.validation import refuse_invalid

Lifespan = Callable[[Litestar], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def running(app: Litestar) -> AsyncIterator[None]:
    """Hold the stores open while the process serves; raises StoreUnavailableError where one does not answer."""
    die_with_parent()
    chosen = settings()
    chosen.check_service()
    with shipping("web", chosen):
        log_start()
        load_mappings(chosen.mappings)
        async with open_stores(chosen) as stores:
            app.state.stores = stores
            app.state.accounts = held = Accounts.of(stores, AccountMails(chosen, safe_of(chosen)))
            app.state.admit = partial(admit, held)
            await ensure_console(stores)
            # What was loaded stays for good: collections that look through all of it hold calls up for some 40 ms.
            gc.freeze()
            yield
            held.close()
        log_stop()


@get("/", summary="What this is, and where to go on", include_in_schema=False, sync_to_thread=False)
def index() -> dict[str, str]:
    return {
        "name": "AstroBookings Core",
        "version": VERSION,
        "api": "/v1",
        "schema": "/schema",
        "health": "/health/ready",
    }


def guarded() -> Router:
    """Everything below /v1: the guard and the checks stand here, once, so that no call can go without them."""
    return Router(
        "/v1",
        route_handlers=[
            *accounts.CONTROLLERS,
            *reconciliation.CONTROLLERS,
            *logs.CONTROLLERS,
            *notifications.CONTROLLERS,
            Schedules,
            Audit,
            Archives,
            Erasures,
        ],
        guards=[needs_permission],
        before_request=refuse_invalid,
        security=[{TOKEN_SCHEME: []}],
    )


def told(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """What went wrong, as whoever asks understands it: a page in the console, a problem document everywhere else."""
    here = request.url.path == CONSOLE or request.url.path.startswith(f"{CONSOLE}/")
    return show_error(request, error) if here else respond(request, error)


def create_app(lifespan: Lifespan = running) -> Litestar:
    """The application, around stores that `lifespan` opens."""
    handlers: list[Any] = [
        index,
        health.live,
        health.ready,
        oauth.OAuth,
        oauth.jwks,
        oauth.metadata,
        guarded(),
        Router("/v1", route_handlers=notifications.PUBLIC, before_request=refuse_invalid),
        console(),
    ]
    app = Litestar(
        route_handlers=handlers,
        lifespan=[lifespan],
        dependencies={
            "stores": Provide(opened_stores, sync_to_thread=False),
            "accounts": Provide(held_accounts, sync_to_thread=False),
            "caller": Provide(calling, sync_to_thread=False),
        },
        exception_handlers={Exception: told},
        template_config=templates(),
        openapi_config=describe(),
        request_max_body_size=MAX_BODY_BYTES,
        logging_config=None,
        debug=False,
    )
    app.asgi_handler = with_request_id(app.asgi_handler)
    return app


app = create_app()

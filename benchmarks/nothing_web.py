"""``benchmarks.nothing_web:app``: the web application, and beside orders for mail a route that takes them and does nothing.

What comes before and after it is the same: the token and what its client may, the checks of the body, the key, the answer.
"""

from typing import Any
from uuid import uuid4

from litestar import Request, Response, Router, post
from litestar.params import JSONBody

from app.idempotency import call_of
from app.notifications.asking.ordering import Wanted
from app.notifications.ledger.views import Placed
from benchmarks.orders import NOTHING, ORDERS
from web.accounts.inputs import Held
from web.app import create_app
from web.guards import Calling, needs_permission
from web.idempotency import key_of, replayed
from web.notifications.notifications import SEND
from web.stores import Opened
from web.validation import refuse_invalid


@post(NOTHING, status_code=202, opt=SEND, include_in_schema=False)
async def do_nothing(
    *,
    stores: Opened,  # noqa: ARG001  (what orders are given too)
    accounts: Held,  # noqa: ARG001
    caller: Calling,
    request: Request[Any, Any, Any],
    data: JSONBody[Wanted],
) -> Response[Placed]:
    """Answers as if there were a batch now."""
    call_of(caller.client, key_of(request), data)
    placed = Placed(uuid4(), [uuid4()])
    headers = {"Location": f"{ORDERS}/batches/{placed.batch}"}
    return Response(placed, status_code=202, headers=headers | replayed(replay=False))


app = create_app()
app.register(
    Router("/", route_handlers=[do_nothing], guards=[needs_permission], before_request=refuse_invalid)
)

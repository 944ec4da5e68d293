"""What the provider tells of mails over HTTP. It proves who it is by a signature, and has no access token."""

from dataclasses import dataclass
from datetime import UTC
from typing import Any

import msgspec
from litestar import Request, post
from litestar.openapi.spec import Operation, Parameter, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIType
from msgspec import Struct

from app.clock import now
from app.errors import Fault, InvalidInputError
from app.notifications.delivering import callbacks
from app.notifications.delivering.callbacks import Callback
from app.notifications.delivering.signatures import HEADER, check_signature
from app.notifications.delivering.transports.transport import told
from app.stores.connections import Stores
from web.notifications.inputs import CallbackOrder
from web.schema import described
from web.stores import Opened
from web.validation import content_type, decode_json, faults_in

# What comes back may be quoted whole; the beginning says why, and a callback must not be lost for its length.
_MOST_DETAIL = 4000


class CallbackTaken(Struct):
    """Whether it was told for the first time."""

    new: bool


@dataclass
class _Signed(Operation):
    """The call in /schema: the handler reads header and body by itself, for the signature is of the body's bytes."""

    def __post_init__(self) -> None:
        self.parameters = [
            Parameter(
                name=HEADER,
                param_in="header",
                schema=Schema(type=OpenAPIType.STRING),
                description="t=SECONDS,v1=HEX; docs/notifications.md has the contract",
                required=True,
            )
        ]
        self.request_body = RequestBody(content={"application/json": described(CallbackOrder)}, required=True)


@post(
    "/notifications/callbacks",
    status_code=200,
    summary="Tell what became of a mail",
    tags=["notifications"],
    operation_class=_Signed,
)
async def take_callback(stores: Opened, request: Request[Any, Any, Any]) -> CallbackTaken:
    """For the provider, who signs it. What is told twice, late or out of order is no fault; 404 for a mail that is none of ours."""
    moment, body = now(), await request.body()
    check_signature(request.headers.get(HEADER.lower()), body, _secrets(stores), moment)
    order = _order(decode_json(body, content_type(request)))
    callback = Callback(
        event=order.event,
        notification=order.notification,
        kind=order.kind,
        at=order.at,
        permanent=order.permanent,
        detail=None if order.detail is None else told(order.detail[:_MOST_DETAIL]),
    )
    return CallbackTaken(await callbacks.take(stores, callback, moment=moment))


def _secrets(stores: Stores) -> list[str]:
    """None: then no callback is right."""
    secrets = stores.settings.notification_callback_secrets
    return [each.strip() for each in secrets.get_secret_value().split(",")] if secrets else []


def _order(value: Any) -> CallbackOrder:
    if faults := list(faults_in(CallbackOrder, value)):
        raise InvalidInputError("the callback breaks the contract", faults)
    order = msgspec.convert(value, CallbackOrder)
    try:
        order.at.astimezone(UTC)
    except OverflowError:
        raise InvalidInputError(
            "the callback breaks the contract", [Fault("at", "lies outside the years 1 to 9999, in UTC")]
        ) from None
    return order

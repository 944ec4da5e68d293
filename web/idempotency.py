"""The header Idempotency-Key of calls that are carried out once, and of handlers that read it by themselves."""

from dataclasses import dataclass
from typing import Any

from litestar import Request
from litestar.exceptions import ClientException
from litestar.openapi.spec import Operation, Parameter, Schema
from litestar.openapi.spec.enums import OpenAPIType

KEY = "Idempotency-Key"


@dataclass
class Keyed(Operation):
    """Such a call in /schema."""

    def __post_init__(self) -> None:
        self.parameters = [
            Parameter(
                name=KEY,
                param_in="header",
                schema=Schema(type=OpenAPIType.STRING, min_length=1, max_length=255),
                description="drawn for this call alone, a UUID say: repeated under it, the call counts once",
                required=True,
            )
        ]


def key_of(request: Request[Any, Any, Any]) -> str:
    """The key that the caller has drawn; raises ClientException where there is none."""
    key = request.headers.get(KEY.lower())
    if not key:
        raise ClientException(f"the header {KEY} is missing; draw one for each call, a UUID say")
    return key


def replayed(*, replay: bool) -> dict[str, str]:
    """What tells a caller that the answer is that of an earlier call."""
    return {"Idempotency-Replayed": "true"} if replay else {}

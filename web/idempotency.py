"""The header Idempotency-Key of calls that are carried out once, and of handlers that read it by themselves."""

import re
from dataclasses import dataclass
from typing import Any

from litestar import Request
from litestar.exceptions import ClientException
from litestar.openapi.spec import OpenAPIHeader, OpenAPIResponse, Operation, Parameter, Schema
from litestar.openapi.spec.enums import OpenAPIType

from web.validation import refuse_invalid

KEY = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
_STRING = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')  # RFC 9651, section 3.3.3


@dataclass
class Keyed(Operation):
    """Such a call in /schema, beside whatever else it takes and answers."""

    def __post_init__(self) -> None:
        key = Parameter(
            name=KEY,
            param_in="header",
            schema=Schema(type=OpenAPIType.STRING, min_length=1, max_length=255),
            description="drawn for this call alone, a UUID say, as it is or in quotes: repeated under it, the call counts once",
            required=True,
        )
        self.parameters = [*(self.parameters or []), key]
        for answer in (self.responses or {}).values():
            if isinstance(answer, OpenAPIResponse):
                answer.headers = {
                    "Location": _header("where it lies"),
                    REPLAYED: _header("`true`: it was answered before"),
                }


def _header(said: str) -> OpenAPIHeader:
    return OpenAPIHeader(schema=Schema(type=OpenAPIType.STRING), description=said)


async def refuse_unkeyed(request: Request[Any, Any, Any]) -> None:
    """As `refuse_invalid`, of a call that needs a key; one without is not looked at any further. Raises ClientException."""
    key_of(request)
    await refuse_invalid(request)


def key_of(request: Request[Any, Any, Any]) -> str:
    """The key that the caller has drawn; raises ClientException where there is none, or more than one.

    Its two spellings, as a string of RFC 9651 and without quotes, are one key.
    """
    given = request.headers.getall(KEY, [])
    if len(given) > 1:
        raise ClientException(f"the header {KEY} is given more than once")
    key = _unquoted(given[0].strip()) if given else ""
    if not key:
        raise ClientException(f"the header {KEY} is missing; draw one for each call, a UUID say")
    return key


def _unquoted(key: str) -> str:
    if not key.startswith('"'):
        return key
    if (string := _STRING.fullmatch(key)) is None:
        raise ClientException(f"the header {KEY} begins with a quote, and is no string of RFC 9651")
    return re.sub(r"\\(.)", r"\1", string[1])


def replayed(*, replay: bool) -> dict[str, str]:
    """What tells a caller that the answer is that of an earlier call."""
    return {REPLAYED: "true"} if replay else {}

"""Forms: what browsers send, whether a page of ours asked for it, and the structs that calls of the API bring."""

import hmac
from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec
from litestar import Request
from litestar.di import NamedDependency
from litestar.exceptions import ClientException, HTTPException, PermissionDeniedException
from litestar.params import SkipValidation
from msgspec import Struct

from app.errors import CoreError, Fault, InvalidInputError
from web.console.cookie import form_token, secret_of
from web.validation import check_path, faults_in

TYPE = "application/x-www-form-urlencoded"
TOKEN = "csrf"  # noqa: S105  (the name of a field)
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_MOST_FIELDS = 50

Form = NamedDependency[SkipValidation[dict[str, str]]]
"""The fields of a form, by name."""

Filled = TypeVar("Filled", bound=Struct)


class Failed(Struct, frozen=True):
    """What was asked for in vain: by which form of a page, what was typed into it, and what is wrong."""

    form: str
    typed: dict[str, str]
    error: CoreError


async def check_form(request: Request[Any, Any, Any]) -> None:
    """Refuse whatever changes something and does not come from a page that was made for this browser. Raises 403.

    And what is at no path that a store could hold: NotFoundError.
    """
    check_path(request)
    if request.method in _READING:
        return
    secret, given = secret_of(request), (await fields_of(request)).get(TOKEN, "")
    if secret is None or not hmac.compare_digest(form_token(secret).encode(), given.encode()):
        raise PermissionDeniedException(
            "the page is out of date, or your browser keeps no cookies; nothing was changed: open the page again"
        )


async def fields_of(request: Request[Any, Any, Any]) -> dict[str, str]:
    """The fields of the request's form. Raises 400 for what is no form, 413 and 415."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != TYPE:
        raise HTTPException(status_code=415, detail=f"the body must be {TYPE}")
    try:
        pairs = parse_qsl(
            (await request.body()).decode("ascii"),
            keep_blank_values=True,
            max_num_fields=_MOST_FIELDS,
            errors="strict",
        )
    except ValueError as error:
        raise ClientException("the body is no form") from error
    if len(dict(pairs)) < len(pairs):
        raise ClientException("a field is given more than once")
    return dict(pairs)


def filled(kind: type[Filled], form: Mapping[str, str]) -> Filled:
    """The form as what a call of the API brings; fields that are left empty are left out.

    Raises InvalidInputError with every fault, by field.
    """
    given = {name: form[name] for name in kind.__struct_fields__ if form.get(name)}
    if faults := list(faults_in(kind, given)):
        raise InvalidInputError("something is missing or wrong", faults)
    return msgspec.convert(given, kind)


def check_same(password: str, again: str) -> None:
    """Refuse a password that was not typed the same twice, for what is typed is not seen."""
    if password != again:
        raise InvalidInputError("the password is not changed", [Fault("again", "is not the same")])

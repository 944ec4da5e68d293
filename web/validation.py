"""What a call says is checked as a whole before it is acted on: every fault is told, not the first alone."""

from collections.abc import Iterable, Iterator
from enum import Enum
from itertools import chain
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from uuid import UUID

import msgspec
from litestar import Request
from litestar.exceptions import ClientException, HTTPException
from litestar.handlers import HTTPRouteHandler
from msgspec import Meta, Struct, UnsetType
from msgspec.structs import FieldInfo, fields

from app.errors import FAULT, Fault, InvalidInputError, NotFoundError, first_of

_INJECTED = frozenset({"accounts", "caller", "data", "request", "state", "stores"})
MOST_DEPTH = 100
"""How deep a JSON body may be nested. Some 900 levels are too many for the framework, which decodes it again further down the stack."""


async def refuse_invalid(request: Request[Any, Any, Any]) -> None:
    """Check path, query and body against what the handler declares.

    Raises InvalidInputError with every fault, see `first_of`; a body that is no JSON raises 400, one of another type 415, one that
    is too long 413. A path that no store could hold raises NotFoundError.
    """
    check_path(request)
    declared = _declared(request.route_handler)
    body = await _body_faults(request, declared["data"]) if "data" in declared else ()
    if faults := first_of(chain(_query_faults(request, declared), body)):
        raise InvalidInputError(
            "the request breaks a rule" if len(faults) == 1 else "the request breaks rules", faults
        )


def check_path(request: Request[Any, Any, Any]) -> None:
    """Raises NotFoundError for a path that no store could hold."""
    if not all(_storable(value) for value in request.path_params.values()):
        raise NotFoundError("nothing lies at this path")


def _declared(handler: HTTPRouteHandler) -> dict[str, FieldInfo]:
    """What the handler takes, by itself and through what is provided to it."""
    provided = handler.resolve_dependencies()
    models = (handler.signature_model, *(each.signature_model for each in provided.values()))
    return {each.name: each for model in models for each in fields(model) if each.name not in provided}


def faults_in(kind: Any, value: Any, where: str = "") -> Iterator[Fault]:
    """Every fault of decoded JSON, judged as `kind`: a Struct's fields, a list's items and a dict's members each for themselves."""
    bare, meta = _unwrap(kind)
    if isinstance(value, dict) and isinstance(bare, type) and issubclass(bare, Struct):
        yield from _struct_faults(bare, value, where)
    elif isinstance(value, list) and get_origin(bare) is list:
        # A list of the wrong length is one fault, however many its items would have.
        shape = list(_whole_faults(Annotated[list[Any], *meta], value, where))
        yield from shape or _item_faults(get_args(bare)[0], value, where)
    elif isinstance(value, dict) and get_origin(bare) is dict and Any not in get_args(bare):
        shape = list(_whole_faults(Annotated[dict[str, Any], *meta], value, where))
        yield from shape or _member_faults(bare, value, where)
    else:
        yield from _whole_faults(kind, value, where)


def _unwrap(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    if get_origin(kind) is Annotated:
        bare, *meta = get_args(kind)
        return bare, tuple(meta)
    return kind, (Meta(),)


def _struct_faults(kind: type[Struct], value: dict[str, Any], where: str) -> Iterator[Fault]:
    known = {each.encode_name: each for each in fields(kind)}
    if kind.__struct_config__.forbid_unknown_fields:
        for name in value.keys() - known.keys():
            yield Fault(_join(where, name), f"is unknown; known are {', '.join(known)}")
    for name, each in known.items():
        if name in value:
            yield from faults_in(each.type, value[name], _join(where, name))
        elif each.required:
            yield Fault(_join(where, name), "is required")


def _item_faults(kind: Any, values: list[Any], where: str) -> Iterator[Fault]:
    for number, value in enumerate(values):
        yield from faults_in(kind, value, _join(where, str(number)))


def _member_faults(kind: Any, values: dict[str, Any], where: str) -> Iterator[Fault]:
    of_name, of_value = get_args(kind)
    for name, value in values.items():
        place = _join(where, name)
        yield from (
            Fault(place, f"has no name that is taken: {each.message}")
            for each in _whole_faults(of_name, name, place)
        )
        yield from faults_in(of_value, value, place)


def _whole_faults(kind: Any, value: Any, where: str, *, strict: bool = True) -> Iterator[Fault]:
    try:
        msgspec.convert(value, kind, strict=strict)
    except msgspec.ValidationError as error:
        yield Fault(where or "body", _own_words(kind) or str(error).split(" - at ")[0])
    else:
        if not _storable(value):
            yield Fault(where or "body", "holds a character that cannot be stored")


def _own_words(kind: Any) -> str | None:
    for meta in (meta for part in (kind, *get_args(kind)) for meta in _unwrap(part)[1]):
        if not isinstance(meta, Meta):
            continue
        if meta.extra and FAULT in meta.extra:
            return str(meta.extra[FAULT])
        # A query parameter has no words of its own, but examples of what is right.
        if meta.pattern and meta.examples:
            return f"must look like {', '.join(str(getattr(each, 'value', each)) for each in meta.examples)}"
    return _words_of_choice(kind)


def _words_of_choice(kind: Any) -> str | None:
    match [each for each in _alternatives(kind) if each is not NoneType and each is not UnsetType]:
        case [only] if only is UUID:
            return "is no UUID"
        case [only] if get_origin(only) is Literal:
            return f"is none of {', '.join(map(str, get_args(only)))}"
        case [type() as only] if issubclass(only, Enum):
            return f"is none of {', '.join(str(each.value) for each in only)}"
        case _:
            return None


def _alternatives(kind: Any) -> list[Any]:
    """Every type that a value may be of, without what else is said of it."""
    bare, _ = _unwrap(kind)
    if get_origin(bare) not in {Union, UnionType}:
        return [bare]
    return [each for part in get_args(bare) for each in _alternatives(part)]


def _storable(value: Any) -> bool:
    """Whether no store chokes on the text: NUL and halves of surrogate pairs are no characters to them."""
    return not isinstance(value, str) or not any(
        each == "\0" or "\ud800" <= each <= "\udfff" for each in value
    )


def _join(where: str, name: str) -> str:
    return f"{where}/{name}" if where else name


def _query_faults(request: Request[Any, Any, Any], declared: dict[str, FieldInfo]) -> Iterable[Fault]:
    known = [name for name in declared if name not in _INJECTED and name not in request.path_params]
    for name in known:
        if declared[name].required and name not in request.query_params:
            yield Fault(name, "is required")
    for name in request.query_params:
        values = request.query_params.getall(name)
        if name not in known:
            message = f"known are {', '.join(known)}" if known else "this call takes none"
            yield Fault(name, f"is an unknown query parameter; {message}")
        elif (several := _list(declared[name].type)) is not None:
            yield from faults_in(several, values, name)
        elif len(values) > 1:
            yield Fault(name, "is given more than once")
        elif _is_null(declared[name].type, values[0]):
            yield Fault(name, "is null; leave the parameter out instead")
        else:
            yield from _whole_faults(declared[name].type, values[0], name, strict=False)


def _is_null(kind: Any, value: str) -> bool:
    """Whether it would pass for "not given": msgspec reads null in any case of letters where no text is asked for."""
    return value == "null" or (value.lower() == "null" and str not in _alternatives(kind))


def _list(kind: Any) -> Any | None:
    """The list that a parameter takes that may be repeated; None for any other."""
    if get_origin(_unwrap(kind)[0]) is list:
        return kind
    return next((each for each in map(_list, get_args(kind)) if each is not None), None)


async def _body_faults(request: Request[Any, Any, Any], field: FieldInfo) -> Iterable[Fault]:
    body = await request.body()
    if not body:
        if field.required:
            raise ClientException("the body is empty; it must be a JSON object")
        return ()
    return faults_in(field.type, decode_json(body, content_type(request)))


def content_type(request: Request[Any, Any, Any]) -> str:
    """What the body is said to be, without parameters; JSON where nothing is said."""
    return request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()


def decode_json(body: bytes, kind: str) -> Any:
    """The value of a body; raises 415 where it is said to be no JSON, and 400 where it is none, or nested too deep."""
    if kind != "application/json" and not kind.endswith("+json"):
        raise HTTPException(status_code=415, detail=f"the body must be application/json, not {kind[:80]!r}")
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ClientException(f"the body is no JSON: {error}") from error
    # Most bodies have fewer lists and objects altogether, and are not looked through.
    if body.count(b"[") + body.count(b"{") > MOST_DEPTH and _lies_deeper(value, MOST_DEPTH):
        raise ClientException(f"the body is nested more than {MOST_DEPTH} deep")
    return value


def _lies_deeper(value: Any, depth: int) -> bool:
    """Whether lists and objects lie within each other more often than that; looks at level after level, without recursion."""
    level: list[Any] = [[value]]
    for _ in range(depth + 1):
        level = [
            inner
            for each in level
            for inner in (each.values() if isinstance(each, dict) else each)
            if isinstance(inner, dict | list)
        ]
    return bool(level)

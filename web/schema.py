"""The description of the API: OpenAPI 3.1 as plain JSON, nothing fetched from elsewhere."""

from importlib.metadata import version
from typing import Any

import msgspec
from litestar import Request, Router
from litestar.enums import MediaType
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, OpenAPIMediaType, SecurityScheme
from litestar.types import ControllerRouterHandler

from web.problems import PROBLEM_JSON

TOKEN_SCHEME = "accessToken"  # noqa: S105  (a name in the schema)
VERSION = version("astrobookings-core")

PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457. `errors` lists every fault of what was asked; `instance` is what stands in the way.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["where", "message"],
                "properties": {"where": {"type": "string"}, "message": {"type": "string"}},
            },
        },
        "stores": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}
ANY_PROBLEM = {
    "description": "What went wrong",
    "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}


class _SchemaRouter(Router):
    """Has no HTML page for unknown paths below /schema: every error is a problem document."""

    def register(self, value: ControllerRouterHandler) -> Any:
        if isinstance(value, HTTPRouteHandler) and value.media_type is MediaType.HTML:
            return []
        return super().register(value)


class _Json(JsonRenderPlugin):
    """Says of every call that it may answer a problem document."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        return self.render_json(request, with_problems(openapi_schema))


def with_problems(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with one default answer for every error, in place of the framework's guesses."""
    schema["components"].setdefault("schemas", {})["Problem"] = PROBLEM_SCHEMA
    for operations in schema["paths"].values():
        for operation in operations.values():
            if isinstance(operation, dict) and "responses" in operation:
                operation["responses"].pop("400", None)
                operation["responses"]["default"] = ANY_PROBLEM
    return schema


def described(kind: Any) -> OpenAPIMediaType:
    """A body that a handler reads by itself, with a schema that refers to nothing."""
    (schema,), parts = msgspec.json.schema_components([kind])
    return OpenAPIMediaType(schema=_inlined(schema, parts))


def _inlined(node: Any, parts: dict[str, Any]) -> Any:
    match node:
        case {"$ref": str(reference)}:
            return _inlined(parts[reference.rpartition("/")[2]], parts)
        case dict():
            return {name: _inlined(each, parts) for name, each in node.items()}
        case list():
            return [_inlined(each, parts) for each in node]
        case _:
            return node


def describe() -> OpenAPIConfig:
    """What /schema serves."""
    token = SecurityScheme(
        type="http",
        scheme="bearer",
        bearer_format="JWT",
        description="an access token of /oauth/token or /v1/auth/login",
    )
    return OpenAPIConfig(
        title="AstroBookings Core",
        version=VERSION,
        description="Credentials, logs, mail, and two databases kept true to each other.",
        components=Components(security_schemes={TOKEN_SCHEME: token}),
        use_handler_docstrings=True,
        operation_id_creator=lambda handler, *_: str(handler.handler_name),
        render_plugins=[_Json(path=["/", "/openapi.json"])],
        openapi_router=_SchemaRouter("/schema", route_handlers=[], include_in_schema=False),
    )

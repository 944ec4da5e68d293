"""Contents of templates for tests."""

from typing import Any

from app.notifications.templates.content import Content, Texts

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "maxLength": 60_000},
        "items": {"type": "array", "items": {"type": "string"}},
        "zone": {"type": "string", "format": "zone"},
    },
}
SAMPLE = {"name": "Ada", "items": ["a", "b"]}


def texts(content: str = "Hello {{ name }}", *, subject: str = "Hello {{ name }}", **parts: str) -> Texts:
    """Texts whose parts are this content, in the layout."""
    wrapped = {
        part: f'{{% extends "{layout}" %}}{{% block content %}}{content}{{% endblock %}}'
        for part, layout in (("text", "layout.txt"), ("html", "layout.html"))
    }
    return Texts(**({"subject": subject, **wrapped} | parts))


def content(
    shown: str = "Hello {{ name }}",
    *,
    schema: dict[str, Any] = SCHEMA,
    sample: dict[str, Any] = SAMPLE,
    **parts: str,
) -> Content:
    return Content(schema, {"en": texts(shown, **parts)}, sample)

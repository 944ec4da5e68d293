"""Templates as callers see them."""

from datetime import datetime
from typing import Any

from msgspec import Struct

from app.notifications.templates.content import Kind, Texts


class TemplateView(Struct, frozen=True):
    """A template. Nothing is sent from one that is not enabled; `revision` counts its changes."""

    name: str
    kind: Kind
    purpose: str
    enabled: bool
    disabled_because: str | None
    current: int
    locales: list[str]
    revision: int
    updated_at: datetime


class VersionView(Struct, frozen=True):
    """A version, and whether it came with the service or is an operator's."""

    version: int
    locales: list[str]
    shipped: bool
    made_by: str
    made_at: datetime


class VersionDetail(Struct, frozen=True):
    """A version as it was written."""

    version: int
    shipped: bool
    made_by: str
    made_at: datetime
    schema: dict[str, Any]
    locales: dict[str, Texts]
    sample: dict[str, Any]


class TemplateDetail(Struct, frozen=True):
    """A template, the version that mails are rendered from, and all that there are, the latest first."""

    template: TemplateView
    content: VersionDetail
    versions: list[VersionView]

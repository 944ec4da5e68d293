"""The templates that this version of the service brings along: one folder each, and what they have in common.

A folder NAME has `template.toml` (kind, purpose, the schema of its data, a sample) and, per language, LANG.subject,
LANG.txt and LANG.html. Beside the folders lie `layout.html` and `layout.txt`, which every mail extends, the facts about a launch that
many include, `definitions.toml`, the parts of schemas that several have, and `words.toml`, what names of the data are
called in each language.
"""

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from app.notifications.templates.content import Content, Kind, Texts

_HERE = Path(__file__).parent
_REFERENCE = re.compile(rb'"#/\$defs/(\w+)"')


class Shipped(Struct, frozen=True):
    """A template as it is shipped."""

    name: str
    kind: Kind
    purpose: str
    content: Content


class _Declared(Struct, forbid_unknown_fields=True):
    """What a `template.toml` says."""

    kind: Kind
    purpose: str
    schema: dict[str, Any]
    sample: dict[str, Any]


@cache
def shipped() -> Mapping[str, Shipped]:
    """Every template, by name."""
    return {each.parent.name: _read(each.parent) for each in sorted(_HERE.glob("*/template.toml"))}


@cache
def layouts() -> Mapping[str, str]:
    """What mails extend and include: `layout.html` and `launch.txt`, say."""
    files = (*_HERE.glob("*.html"), *_HERE.glob("*.txt"))
    return {each.name: each.read_text(encoding="utf-8") for each in files}


@cache
def words(language: str) -> Mapping[str, str]:
    """What names are called in a language, or in English where nobody has said it."""
    told = tomllib.loads((_HERE / "words.toml").read_text(encoding="utf-8"))
    return {name: each.get(language, each["en"]) for name, each in told.items()}


def _read(folder: Path) -> Shipped:
    declared = msgspec.toml.decode((folder / "template.toml").read_bytes(), type=_Declared)
    locales = {each.stem: _texts(folder, each.stem) for each in sorted(folder.glob("*.subject"))}
    content = Content(_with_definitions(declared.schema), locales, declared.sample)
    return Shipped(folder.name, declared.kind, declared.purpose, content)


def _texts(folder: Path, locale: str) -> Texts:
    def text(ending: str) -> str:
        return (folder / f"{locale}.{ending}").read_text(encoding="utf-8")

    return Texts(text("subject").strip(), text("txt"), text("html"))


def _with_definitions(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with the definitions that it refers to, by itself or through them."""
    known = tomllib.loads((_HERE / "definitions.toml").read_text(encoding="utf-8"))
    used: dict[str, Any] = {}
    while missing := _referred([schema, used]) - used.keys():
        used |= {name: known[name] for name in sorted(missing)}
    return {**schema, "$defs": used} if used else schema


def _referred(parts: list[dict[str, Any]]) -> set[str]:
    return {name.decode() for name in _REFERENCE.findall(msgspec.json.encode(parts))}

"""From a version of a template and data to a mail: subject, plain text and HTML. Nothing is read or written.

What is bounded: the source of each part (`app.notifications.templates.content`), what a template can do at all and the items that
its loops go over (`app.notifications.templates.language`), the data (`app.notifications.templates.schemas`), and here what comes out of each
part, counted while it comes.
"""

import re
import textwrap
import unicodedata
from collections.abc import Collection, Iterator, Mapping
from functools import cache, lru_cache
from typing import Any

from babel import Locale
from css_inline import CSSInliner
from jinja2 import DictLoader, Template, nodes
from jinja2.exceptions import TemplateError, TemplateRuntimeError, TemplateSyntaxError
from msgspec import Struct

from app.errors import Fault, InvalidInputError
from app.locales import parsed
from app.notifications.templates.content import Content
from app.notifications.templates.formatting import LOCALE, WORDS, ZONE
from app.notifications.templates.language import BUDGET, LAYOUTS, Budget, Language, extends
from app.notifications.templates.shipped import layouts, words

FALLBACK = "en"
MOST_SUBJECT = 200
"""Characters; the rest is cut off."""
MOST_BYTES = 100_000
"""Of each part, in UTF-8. Gmail hides what comes after 102 KB."""
COLUMNS = 78
"""RFC 5322, section 2.1.1."""

_JOINERS = "\u200c\u200d"
_BLANK_LINES = re.compile(r"\n{3,}")
# Styles of the layout stay where they cannot be inlined: those for small screens and for dark ones. Nothing is fetched.
_INLINER = CSSInliner(keep_at_rules=True, load_remote_stylesheets=False)


class Rendered(Struct, frozen=True):
    """A mail that can go, and the language that it is in."""

    locale: str
    subject: str
    text: str
    html: str


class RenderingError(InvalidInputError):
    """A template cannot be filled in, for reasons that trying again does not change. Faults name parts, not data."""


def render(
    content: Content, data: Mapping[str, Any], *, locale: str = FALLBACK, unsubscribe_url: str | None = None
) -> Rendered:
    """The mail in the locale that is wanted, or the nearest that the template has. The data are taken as valid.

    Raises RenderingError with every part that cannot be rendered.
    """
    used = choose_locale(locale, content.locales)
    context = {
        ZONE: "UTC",
        **data,
        "lang": used,
        "unsubscribe_url": unsubscribe_url,
        LOCALE: _spelling(locale, used),
        WORDS: words(used.split("-", maxsplit=1)[0]),
    }
    texts = content.locales[used]
    faults: list[Fault] = []
    parts = {name: _part(name, getattr(texts, name), context, faults) for name in ("subject", "text", "html")}
    if faults:
        raise RenderingError("the template cannot be filled in", faults)
    return Rendered(
        used,
        subject=one_line(parts["subject"]),
        text=_plain(parts["text"]),
        html=parts["html"],
    )


def choose_locale(wanted: str, available: Collection[str]) -> str:
    """The nearest locale that there is: `es-MX`, else `es`, else `en`. What is no locale at all is `en` too."""
    known = {each.lower(): each for each in available}
    tag = wanted.replace("_", "-").lower()
    while tag:
        if tag in known:
            return known[tag]
        tag = tag.rpartition("-")[0]
    return FALLBACK


def one_line(text: str) -> str:
    """The text as it can stand in a header: no line ends in it, no control characters, no more than 200 characters."""
    line = " ".join("".join(map(_shown, text)).split())
    return line if len(line) <= MOST_SUBJECT else f"{line[: MOST_SUBJECT - 1].rstrip()}…"


def _shown(character: str) -> str:
    category = unicodedata.category(character)
    # What changes the direction of a text, or cannot be seen; but for what joins letters, and emoji.
    if category == "Cf" and character not in _JOINERS:
        return ""
    return " " if category == "Cc" else character


def faults_in_part(part: str, source: str, *, where: str) -> list[Fault]:
    """What keeps a source from being this part of a mail: subject, text or html."""
    try:
        _compiled(part, source)
    except TemplateSyntaxError as error:
        return [Fault(where, f"line {error.lineno}: {error.message}")]
    except (TemplateError, SyntaxError, RecursionError, MemoryError):
        return [Fault(where, "is nested too deep")]
    layout = LAYOUTS.get(part)
    if layout and not extends(_language(part).parse(source), layout):
        return [Fault(where, f'must begin with {{% extends "{layout}" %}}')]
    return []


def parsed_html(source: str) -> nodes.Template:
    """The source of an HTML part, as the language takes it apart; raises TemplateSyntaxError."""
    return _language("html").parse(source)


def _part(name: str, source: str, context: Mapping[str, Any], faults: list[Fault]) -> str:
    try:
        filled = _bounded(_compiled(name, source).generate({**context, BUDGET: Budget()}))
        if "\0" in filled and name != "subject":  # which loses it anyway
            raise TemplateRuntimeError("has a character that cannot be stored")
        return _inlined(filled) if name == "html" else filled
    except TemplateSyntaxError as error:
        faults.append(Fault(name, f"line {error.lineno}: {error.message}"))
    except TemplateError as error:
        faults.append(Fault(name, str(error.message)))
    except (TypeError, ValueError, ArithmeticError, RecursionError):
        faults.append(Fault(name, "does something with the data that cannot be done with it"))
    return ""


def _inlined(html: str) -> str:
    # Rules of a mail's own could make it, and the work, any number of times as long.
    if html.lower().count("<style") > _own_styles():
        raise TemplateRuntimeError("has a <style>; use classes of the layout, or style attributes")
    return _bounded([_INLINER.inline(html)])


@cache
def _own_styles() -> int:
    return layouts()[LAYOUTS["html"]].count("<style")


def _bounded(pieces: Iterator[str] | list[str]) -> str:
    taken: list[str] = []
    left = MOST_BYTES
    for piece in pieces:
        left -= len(piece.encode())
        if left < 0:
            raise TemplateRuntimeError(f"is longer than {MOST_BYTES:,} bytes")
        taken.append(piece)
    return "".join(taken)


def _plain(text: str) -> str:
    """Paragraphs of at most 78 columns. What has no spaces, as links, stays whole."""
    lines = (wrapped for line in text.splitlines() for wrapped in _wrapped(line.rstrip()))
    return _BLANK_LINES.sub("\n\n", "\n".join(lines)).strip() + "\n"


def _wrapped(line: str) -> list[str]:
    if len(line) <= COLUMNS:
        return [line]
    indent = line[: len(line) - len(line.lstrip())]
    return textwrap.wrap(
        line, COLUMNS, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _spelling(wanted: str, used: str) -> Locale:
    """How dates and amounts are spelled: as the reader has them, where that is the language of the text."""
    same = wanted.replace("_", "-").lower().split("-")[0] == used.lower().split("-")[0]
    return (parsed(wanted) if same else None) or parsed(used) or Locale(FALLBACK)


@lru_cache(maxsize=512)
def _compiled(part: str, source: str) -> Template:
    return _language(part).from_string(source)


@cache
def _language(part: str) -> Language:
    return Language(DictLoader(layouts()), escapes=part == "html")

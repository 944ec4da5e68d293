"""What in the HTML of a mail would have its reader's program fetch something, run something or send a form.

Whoever writes a template could have what it is filled with, a link by which a password is set say, told to a server of theirs.
"""

import re
from collections import Counter
from functools import cache
from html.parser import HTMLParser

from jinja2 import nodes

from app.notifications.templates.language import LAYOUTS
from app.notifications.templates.rendering import parsed_html
from app.notifications.templates.shipped import layouts

NOTHING_FETCHED = "a mail fetches nothing"

# Some fetch, and within some others what is an element is another matter for each program.
_TAGS = frozenset(
    {
        "link", "script", "iframe", "object", "embed", "form", "meta", "base", "frame", "frameset", "applet", "svg", "math",
        "video", "audio", "source", "track", "image", "input", "button", "style", "noscript", "noembed", "noframes", "xmp",
        "plaintext", "textarea", "template", "bgsound", "xml",
    }
)  # fmt: skip
_ATTRIBUTES = frozenset(
    {"src", "srcset", "imagesrcset", "background", "poster", "data", "lowsrc", "dynsrc", "action", "formaction", "ping", "xlink:href"}
)  # fmt: skip
_STYLE = re.compile(r"url\s*\(|src\s*\(|image\s*\(|image-set\s*\(|@import|\\", re.IGNORECASE)
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)


def fetching(html: str) -> list[str]:
    """What there is of that in a rendered mail, beside what every layout has."""
    return sorted(_found(html) - _of_layout())


def fetching_in_source(source: str) -> list[str]:
    """What there is of that in the source of a part, whatever the data: what it says, without the language around it."""
    return sorted(_found(_said(source)))


@cache
def _of_layout() -> Counter[str]:
    return _found(_said(layouts()[LAYOUTS["html"]]))


def _said(source: str) -> str:
    pieces: list[str] = []
    for output in parsed_html(source).find_all(nodes.Output):
        for each in output.nodes:
            constants = [each] if isinstance(each, nodes.Const) else each.find_all(nodes.Const)
            pieces += (
                [each.data]
                if isinstance(each, nodes.TemplateData)
                else [str(const.value) for const in constants]
            )
    return "".join(pieces)


def _found(html: str) -> Counter[str]:
    parser = _Parser()
    try:
        parser.feed(html)
        parser.close()
    except AssertionError:  # of a declaration that HTML does not have
        parser.found["<![…"] += 1
    return parser.found


class _Parser(HTMLParser):
    """Counts. What is in a comment is looked at too: there are programs that read it."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _TAGS or ":" in tag:
            self.found[f"<{tag}>"] += 1
        for name, value in attrs:
            if name in _ATTRIBUTES or (name == "href" and tag not in {"a", "area"}):
                self.found[name] += 1
            if name == "style" and _STYLE.search(_COMMENT.sub("", value or "")):
                self.found["url(, @import and the like in a style"] += 1

    def handle_comment(self, data: str) -> None:
        self.found += _found(data)

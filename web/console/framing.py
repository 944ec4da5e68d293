"""The HTML of a mail, shown inside of a page: whatever is in it, it can do nothing, fetch nothing and lead nowhere."""

import re
from typing import Any

from litestar import Request, Response
from litestar.enums import MediaType

from web.console.pages import headers_for

# `sandbox` without more: no script, no form, no other window, an origin of its own (CSP, section 6.3.2; HTML, section 7.1.5).
_POLICY = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; "
    "base-uri 'none'; frame-ancestors 'self'"
)
_HEAD = re.compile(r"<head(\s[^>]*)?>", re.IGNORECASE)
# Another window is what the sandbox refuses, so that a link does nothing and the mail stays in sight.
_NOWHERE = '<base target="_blank">'


def framed(request: Request[Any, Any, Any], html: str) -> Response[str]:
    """What a frame with the attribute `sandbox` shows."""
    head = _HEAD.search(html)
    place = head.end() if head else 0
    content = f"{html[:place]}{_NOWHERE}{html[place:]}"
    return Response(content, media_type=MediaType.HTML, headers=headers_for(request, policy=_POLICY))

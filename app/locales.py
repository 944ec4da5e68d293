"""Languages as people have them: tags of BCP 47 that the CLDR knows."""

import re
from functools import lru_cache
from typing import Annotated

import babel
from babel import UnknownLocaleError
from msgspec import Meta

from app.errors import FAULT

NO_LOCALE = "is no locale, as es or es-MX"
Locale = Annotated[
    str,
    Meta(
        min_length=2,
        max_length=35,
        description="as es or es-MX (BCP 47)",
        extra={FAULT: NO_LOCALE},
    ),
]

_SPELLED = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8}){0,3}")


def is_locale(text: str) -> bool:
    """Whether it is spelled as BCP 47 has it and known to the CLDR, as `es` or `es-MX`."""
    return bool(_SPELLED.fullmatch(text)) and "_" not in text and parsed(text) is not None


@lru_cache(maxsize=256)
def parsed(tag: str) -> babel.Locale | None:
    """What the CLDR has of it; None where it knows none."""
    try:
        return babel.Locale.parse(tag.replace("-", "_"))
    except (UnknownLocaleError, ValueError, TypeError):
        return None

"""Keeps secrets out of every log sink: by the name of a field, by the look of a text, and by value for our own.

What it cannot see: a secret that nothing names and that looks like any other word, or one that was encoded or split.
No pattern looks back or ahead without a bound, so that a hostile text costs no more than its length.
"""

import re
from collections.abc import Iterable
from email.message import Message
from functools import lru_cache
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, SecretStr

REDACTED = "[redacted]"
LEAST_LENGTH = 12  # a shorter secret of ours may be an everyday word, as passwords of development are

# A name is compared in lower case and without what separates its words.
_SEPARATORS = re.compile(r"[^a-z0-9]")
_SECRET_PARTS = re.compile(
    r"password|passwd|passphrase|passcode|pword|pwd|pw$|secret|token|authorization|(?<!o)auth$|cookie"
    r"|(?:api|access|private|operator|signing|encrypt(?:ion)?|master|auth|ssh|vault|account)key"
    r"|pepper|credential|sess(?:ion)?(?:id|key)|csrf|xsrf|jwt|bearer|amzsignature|googsignature"
    r"|(?<!by)(?<!com)(?<!sur)(?<!tres)(?<!over)(?<!under)pass$"
    # What a mail says, which is its reader's business alone; not how long it is.
    r"|(?<!any)(?<!some)(?<!every)(?<!no)bod(?:y|ies)$|^body(?!size|length|bytes|limit|type|count|hash)"
    r"|(?:onetime|verification|confirmation|security|access|auth|login|signin|2fa|mfa|otp|reset|recovery|backup"
    r"|activation)codes?$"
)
_SECRET_NAMES = frozenset(["pin", "otp", "totp", "session", "sid", "html", "text", "payload", "attachments"])

# In a text: a name that says secret, in any spelling and quoting, and what it is set to.
_KEYS = [
    "api",
    "access",
    "private",
    "operator",
    "signing",
    "encrypt",
    "encryption",
    "master",
    "auth",
    "ssh",
    "vault",
]
_KEY = "|".join([*(rf"{each}[_ -]?key" for each in _KEYS), "accountkey"])
_NAME = (
    rf"(?:passw(?:or)?d|pass-?phrase|passcode|pword|pwd|secret|token|(?:{_KEY})"
    r"|pepper|credential|sess(?:ion)?[_-]?(?:id|key)|[cx]srf|jwt)[\w.-]{0,40}"
)
_MAIL = (
    r"(?:\b|_|mail|message|html|text|plain|raw|request|response)bod(?:y(?:[_-][\w-]{0,20}|(?![a-z]))|ies\b)"
    r"|\b(?:html|text|payload|attachments)"
)
# Names that are also the ends of everyday words, or words themselves: only whole, and only where they are set.
_CODE_NAME = (
    r"(?:one[ _-]?time|verification|confirmation|security|access|auth|log-?in|sign-?in|[2m]fa|otp|reset|recovery|backup"
    r"|activation)[ _-]?codes?"
)
_WORD = rf"(?:db|user|smtp|pg|root|admin)?(?:pass|pw)(?!://)|pin|t?otp|x?auth|session|sid|(?:amz|goog)-signature|{_CODE_NAME}"
CODE = "code"
# A code may be anything. Of six to eight digits it is one to use once, unless what stands before it says otherwise.
_ONE_TIME = r"[0-9]{6,8}"
_OTHER_CODES = "".join(f"(?<!{word}[ _-])" for word in ("error", "exit", "status", "postal", "zip", "return"))
_HEADER = r"authorization|cookies?2?"
# As many blanks as an aligned text may have.
_SETS = (
    r"""\\*["']?\s{0,80}+(?:=>|:=|[=:>])\s{0,80}+|\\*["']\s{0,80}+,\s{0,80}+(?=b?\\*["'])"""
    r"""|\s{1,80}+(?=\\*["'])"""
)
# Quotes may be escaped themselves, where a text was quoted twice; a text that was cut may lack the closing one. Behind
# any number of backslashes a quote is taken for a part of the text: rather too much is hidden than too little.
_QUOTED = (
    r"""[bruf]{0,2}(?:(?P<triple>\'{3}|"{3}).*?(?:(?P=triple)|\Z)"""
    r"""|(?P<escape>\\++)(?P<quote>["'])(?:.*?[^\\])??(?:(?P=escape)(?P=quote)|\\*+\Z)"""
    r"""|"(?:[^"\\]|\\++(?:.|\Z))*+(?:"|\Z)|'(?:[^'\\]|\\++(?:.|\Z))*+(?:'|\Z))"""
)
_BARE = r"""[^\s,;&<>"')}\]]+"""
_VALUE = rf"(?:{_QUOTED}|\[[^\]]*\]?|\{{[^}}]*\}}?|\([^)]*\)?|{_BARE})"
# In a sentence only what is like no word: it has a digit or a sign in it.
_SAYS = r"(?:\s(?:for|of)\s[^\s:=]{1,60}(?:\s[^\s:=]{1,60})?)?(?:\s{1,3}(?:is|are|was|were)(?::|\s)|\s?[:=])\s{0,9}"
_ODD = r"""(?=[^\s,;"']{0,60}?(?:[0-9$%^&*+@#~=]|!\w))[^\s,;"']{4,}"""
_PREFIXES = r"gh[pousr]_|github_pat_|glpat-|xox[abeoprs]-|sk_(?:live|test)_|rk_(?:live|test)_|pk_(?:live|test)_|whsec_|dop_v1_|ya29\.|AIza|AKIA"
_PORT = r"""\d{1,5}(?:[/?#\s,;:"')\]}]|\.?(?:\s|\Z))"""
_PRIVATE = r"[A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)? ?-{4,5}"

_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(rf"-{{4,5}} ?BEGIN {_PRIVATE}.*?(?:-{{4,5}} ?END|\Z)", re.DOTALL), REDACTED),
    # The end of one whose beginning was left out.
    (
        re.compile(
            rf"(?:\A|(?<=KEY-----))(?:(?!-{{4,5}} ?BEGIN |KEY-----).)*?-{{4,5}} ?END {_PRIVATE}", re.DOTALL
        ),
        REDACTED,
    ),
    (re.compile(rf"(?is)({_HEADER})({_SETS})(?:{_QUOTED}|[^\r\n]+)"), rf"\1\2{REDACTED}"),
    # The authority of an address. A password may hold characters that should have been encoded, a slash for one.
    (re.compile(r"""://[^\s/?#"'<>]{0,500}@"""), f"://{REDACTED}@"),
    (re.compile(rf"""://[^\s/:@"'\[]{{0,200}}:(?!{_PORT})\S{{0,500}}@"""), f"://{REDACTED}@"),
    (
        re.compile(rf"""://[^\s/:@"'\[]{{0,200}}:(?!{_PORT})[^\s@][^\r\n@"'<>]{{0,200}}@(?=[\w\[])"""),
        f"://{REDACTED}@",
    ),
    (re.compile(rf"(?is)({_NAME})({_SETS}){_VALUE}"), rf"\1\2{REDACTED}"),
    (re.compile(rf"(?is)({_MAIL})({_SETS}){_QUOTED}"), rf"\1\2{REDACTED}"),
    (re.compile(rf"(?is)(?<![a-z0-9])({_WORD})({_SETS}){_VALUE}"), rf"\1\2{REDACTED}"),
    (
        re.compile(rf"(?is)(?<![a-z0-9])({_NAME}|{_WORD})({_SAYS})(?:{_QUOTED}|{_ODD})"),
        rf"\1\2{REDACTED}",
    ),
    (re.compile(rf"(?i)({_CODE_NAME} (?:is|are|was) )[\w-]{{4,}}"), rf"\1{REDACTED}"),
    (
        re.compile(
            rf"""(?is)(?<![a-z0-9_-]){_OTHER_CODES}(code)({_SETS})(?:b?\\*["'])?{_ONE_TIME}(?![\w.-])"""
        ),
        rf"\1\2{REDACTED}",
    ),
    (re.compile(r"(?i)([?&;](?:sig|signature|code)=)[^\s&;\"'<>]{6,}"), rf"\1{REDACTED}"),
    (re.compile(rf"(?is)((?<!-)--[\w-]{{0,30}}{_NAME})(\s{{1,9}}){_VALUE}"), rf"\1\2{REDACTED}"),
    (
        re.compile(rf"(?s)((?:-cli|-benchmark)\b[^\r\n]{{0,200}}?\s(?:-a|--pass)\s{{1,9}}){_VALUE}"),
        rf"\1{REDACTED}",
    ),
    (
        re.compile(
            rf"""((?: -u|--(?:proxy-)?user)[\s=]{{0,3}}["']?(?!\d{{1,9}}:)[^\s:"'/]{{1,80}}:(?!//)){_BARE}"""
        ),
        rf"\1{REDACTED}",
    ),
    # What is said to Redis, and to a mail server.
    (re.compile(rf"(?is)(\bHELLO [23] AUTH )\S{{1,200}} {_VALUE}"), rf"\1{REDACTED}"),
    (re.compile(rf"(\bAUTH (?:default |(?:[^\s,;]{{1,80}} )??(?={_ODD})))(?s:{_VALUE})"), rf"\1{REDACTED}"),
    (re.compile(rf"(?i)\b(bearer|basic)((?:\s|%20|\+){{1,9}})(?!\[redacted){_BARE}"), rf"\1\2{REDACTED}"),
    (re.compile(r"eyJ[\w-]{6,}(?:\.[\w-]*){0,4}"), REDACTED),
    (re.compile(r"\$(?:argon2|scrypt|pbkdf2|2[aby]\$)[\w$=,./+-]+"), REDACTED),
    (re.compile(rf"(?:{_PREFIXES})[\w-]{{8,}}|ASIA[A-Z0-9]{{12,}}"), REDACTED),
    (re.compile(r"(?<![A-Za-z0-9])(?:npm|hf)_[A-Za-z0-9]{16,}"), REDACTED),
    (re.compile(r"(?<![\w-])sk-(?=[\w-]{0,60}[0-9])[\w-]{16,}"), REDACTED),
    (re.compile(r"""(?i)(hooks\.slack\.com/)[^\s"'<>]+"""), rf"\1{REDACTED}"),
    (re.compile(r"(?:(?<![A-Za-z0-9])|(?<=%3D))SG\.[\w-]{12,}(?:\.[\w-]*)?"), REDACTED),
)
# What must be there, in lower case, for any of the patterns to match. Most texts have nothing of it, and to ignore case
# in a search takes five times as long. Each choice begins with a letter of its own: so most places are passed over.
_HINTS = re.compile(
    rf"passw|phrase|passcode|pw|secret|token|{_KEY}|pepper|credential|sess|csrf|xsrf|jwt|auth|cookie|bearer|basic"
    r"|bod(?:y|ies)|html|text|payload|attachments"
    rf"|://|eyj|\$|{_PREFIXES.lower()}|asia|sg\.|npm_|hf_|sk-|hooks\.| -u|--(?:proxy-)?user|-cli|-bench"
    r"|pass\b|pin\b|otp\b|sid\b|sig\b|signature\b|codes?\b"
)
_PLAIN = re.compile(r"[0-9a-fA-F:.TZ+ -]*")  # ids, numbers and times; no hint can be spelt with these
_SHORT = 200  # characters; what is logged over and over is looked through once

# `%s` in the template of a library's message, where the words before it name a secret.
_TEMPLATE = re.compile(
    rf"(?i)({_NAME}|{_HEADER})(\W{{0,4}}(?:is |was |of |to )?\W?)%(\(\w+\))?[-+ #0-9.]{{0,9}}[sra]"
)

_known: list[str] = []


def know(secrets: Iterable[str]) -> None:
    """Redact these values wherever they turn up, from now on, instead of those of an earlier call."""
    # The longest first: one may be the beginning of another.
    _known[:] = sorted({each for each in secrets if len(each) >= LEAST_LENGTH}, key=len, reverse=True)
    _redact_short.cache_clear()
    is_plain.cache_clear()


def secrets_of(settings: BaseModel) -> Iterable[str]:
    """Every secret that the settings hold; of an address, its password."""
    for _name, value in settings:
        if isinstance(value, SecretStr):
            secret = value.get_secret_value()
            if "://" not in secret:
                yield secret
            elif password := urlsplit(secret).password:
                yield from (password, unquote(password))


def redact(text: str) -> str:
    """The text without what looks like a secret; a text without any is answered as it is."""
    return _redact_short(text) if len(text) <= _SHORT else _redact(text)


def _redact(text: str) -> str:
    for secret in _known:
        if secret in text:
            text = text.replace(secret, REDACTED)
    if _PLAIN.fullmatch(text) or not _HINTS.search(text.lower()):
        return text
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    return text


_redact_short = lru_cache(maxsize=4096)(_redact)


@lru_cache(maxsize=4096)
def is_plain(text: str) -> bool:
    """Whether a short text can be told just as it is."""
    return text.isascii() and _redact(text) == text


def redact_template(template: str) -> str:
    """A template of %-formatting that leaves out what it names as secret; it takes the same arguments."""
    return _TEMPLATE.sub(rf"\1\2{REDACTED}%\3.0s", template)


@lru_cache(maxsize=2048)
def is_secret(name: str) -> bool:
    """Whether a field of this name is never shown."""
    plain = _SEPARATORS.sub("", name.lower())
    return plain in _SECRET_NAMES or _SECRET_PARTS.search(plain) is not None


def hides(name: object, value: object) -> bool:
    """Whether a value is hidden as a whole: for its field's name, or because it is a mail."""
    if isinstance(value, Message):
        return True
    if value is None or isinstance(value, bool):
        return False
    if name == CODE:
        return re.fullmatch(_ONE_TIME, str(value)) is not None
    return is_secret(name) if isinstance(name, str) else _is_secret_header(name)


def _is_secret_header(name: object) -> bool:
    return isinstance(name, bytes) and is_secret(name.decode("latin-1"))


def is_secret_pair(value: Any) -> bool:
    """Whether a value is a pair of a secret's name and the secret, as headers are kept."""
    return isinstance(value, list | tuple) and len(value) == len(("name", "value")) and hides(*value)

"""A mail in the form in which mail servers take it: RFC 5322, MIME, plain text first, in seven bits wherever that can be."""

import re
from email.headerregistry import Address, BaseHeader, HeaderRegistry, UnstructuredHeader
from email.message import EmailMessage
from email.policy import SMTP, EmailPolicy
from email.utils import format_datetime, parseaddr

from email_validator import EmailNotValidError, validate_email
from msgspec import Struct

from app.notifications.delivering.transports.transport import Mail, MailUnfitError

LONGEST_LINE = 998  # RFC 5322, section 2.1.1


class _InOneLine(UnstructuredHeader):
    """A header that is never broken or encoded: nobody looks for a URL in the result (RFC 2369, section 2)."""

    name: str

    def fold(self, *, policy: EmailPolicy) -> str:
        return f"{self.name}: {self}{policy.linesep}"


class _Registry(HeaderRegistry):
    """Makes one class for each name of a header. The library makes one for each header, which costs more than the header."""

    def __init__(self) -> None:
        super().__init__(default_class=_InOneLine)
        self._made: dict[str, type[BaseHeader]] = {}

    def __getitem__(self, name: str) -> type[BaseHeader]:
        if name not in self._made:
            self._made[name] = super().__getitem__(name)
        return self._made[name]


# Of headers that have a form of their own the registry knows the form; the others are ours.
_POLICY = SMTP.clone(header_factory=_Registry())
# Not every server takes eight bits; one that takes international addresses does (RFC 6531, section 3.1).
_SEVEN_BITS = _POLICY.clone(cte_type="7bit")
_EIGHT_BITS = _POLICY.clone(utf8=True)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_HEADER = re.compile(r"[!-9;-~]+")  # RFC 5322, section 2.2
_DOT = re.compile(rb"(?m)^\.")


class Composed(Struct, frozen=True):
    """An envelope and what is sent after DATA, but for the line with the dot that ends it; dots are doubled (RFC 5321, 4.5.2).

    `international`: an address has more than ASCII before its @, which a server has to understand (RFC 6531).
    """

    sender: str
    recipient: str
    content: bytes
    international: bool


def compose(mail: Mail) -> Composed:
    """Raises MailUnfitError."""
    name, sender = parseaddr(mail.sender)
    sender, recipient = _address(sender), _address(mail.to)
    international = not (sender.isascii() and recipient.isascii())
    policy = _EIGHT_BITS if international else _SEVEN_BITS
    message = EmailMessage(policy=policy)
    message["From"] = _named(name, sender)
    message["To"] = _named("", recipient)
    message["Subject"] = _one_line("Subject", mail.subject)
    message["Date"] = format_datetime(mail.date)
    message["Message-ID"] = _one_line("Message-ID", mail.message_id)
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's holiday answers it
    for header, value in mail.headers.items():
        message[header] = _further(header, value)
    message.set_content(mail.text)
    if mail.html is not None:
        # The same in every try, and known to nobody who could write it into the mail; nor is "=_" found in quoted-printable
        # (RFC 2045, section 6.7).
        message.make_alternative(boundary=f"=_{mail.id}")
        message.add_alternative(mail.html, subtype="html")
    return Composed(sender, recipient, _DOT.sub(b"..", message.as_bytes(policy=policy)), international)


def _address(text: str) -> str:
    """The address, its domain as the domain name system has it (RFC 5890)."""
    try:
        valid = validate_email(text, check_deliverability=False, test_environment=True)
    except EmailNotValidError as error:
        raise MailUnfitError("an address of the mail is none") from error
    return valid.ascii_email or f"{valid.local_part}@{valid.ascii_domain}"


def _named(name: str, address: str) -> Address:
    local, _, domain = address.rpartition("@")
    return Address(_one_line("From", name), local, domain)


def _one_line(header: str, value: str) -> str:
    if _CONTROLS.search(value):
        raise MailUnfitError(f"{header} has a character that would end its line")
    return value


def _further(header: str, value: str) -> str:
    if not _HEADER.fullmatch(header) or header.lower() in HeaderRegistry().registry:
        raise MailUnfitError("a further header of the mail has a name that it may not have")
    if not value.isascii() or len(header) + len(": ") + len(value) > LONGEST_LINE:
        raise MailUnfitError(f"{header} is no line of ASCII of at most {LONGEST_LINE} characters")
    return _one_line(header, value)

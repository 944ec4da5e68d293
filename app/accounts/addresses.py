"""E-mail addresses as accounts have them: one spelling to write to, and one by which two of them are the same."""

import unicodedata
from typing import NamedTuple

from email_validator import EmailNotValidError, validate_email

from app.errors import Fault, InvalidInputError


class Address(NamedTuple):
    """`spelled` is what mail is sent to (RFC 5321, the domain in lower case); `key` is equal for equal addresses.

    Two domains are the same where they are for those who deliver mail: as they are spelled in ASCII (IDNA, RFC 5890).
    """

    spelled: str
    key: str


def address(text: str, *, where: str = "email") -> Address:
    """The address that is meant; raises InvalidInputError where it is none. Nobody is asked whether it exists."""
    try:
        # Names below .test are for trying things out (RFC 6761).
        valid = validate_email(text, check_deliverability=False, test_environment=True)
    except EmailNotValidError as error:
        raise InvalidInputError(
            "no e-mail address", [Fault(where, f"is no e-mail address: {error}")]
        ) from error
    # Providers tell no upper from lower case before the @ either, whatever RFC 5321, section 2.4, would let them.
    local = unicodedata.normalize("NFC", valid.local_part.casefold())
    return Address(valid.normalized, f"{local}@{valid.ascii_domain.lower()}")

"""What callers send about accounts, with its limits."""

from datetime import datetime
from typing import Annotated, Any

from litestar.di import NamedDependency
from litestar.params import SkipValidation
from msgspec import UNSET, Meta, Struct, UnsetType

from app.accounts import machines
from app.accounts.passwords import MOST
from app.accounts.permissions import Role, Scope
from app.accounts.service import Accounts
from app.errors import FAULT
from app.locales import Locale
from web.inputs import Reason

Held = NamedDependency[SkipValidation[Accounts]]
"""The accounts of this process."""

Email = Annotated[str, Meta(min_length=1, max_length=254)]
Password = Annotated[str, Meta(max_length=MOST, extra={FAULT: f"has at most {MOST:,} characters"})]
Code = Annotated[str, Meta(min_length=1, max_length=40, description="six digits, or a recovery code")]
Token = Annotated[str, Meta(min_length=1, max_length=200)]
PersonName = Annotated[
    str,
    Meta(
        max_length=200,
        pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*(?![\s\S])",
        extra={FAULT: "has at most 200 characters, in one line, and no control characters"},
    ),
]
GivenPassword = Annotated[str, Meta(max_length=10_000)]
"""One that is set already: whether it is right is all that counts."""
ClientIp = Annotated[
    str,
    Meta(
        max_length=machines.MOST,
        description="the IP address of the user's machine, as the client saw it, without a zone",
        extra={FAULT: f"has at most {machines.MOST} characters"},
    ),
]


class Typed(Struct, forbid_unknown_fields=True):
    """What a user types to sign in."""

    email: Annotated[str, Meta(max_length=1000)]
    password: GivenPassword
    code: Annotated[str, Meta(max_length=100)] | None = None


class Login(Typed, forbid_unknown_fields=True, kw_only=True):
    """What a user signs in with. `client_ip` and `device` are the user's own, as the client saw them."""

    client_ip: ClientIp
    device: Annotated[str, Meta(max_length=200)] | None = None

    def machine(self) -> str:
        """The IP address in its one spelling; raises InvalidInputError where it is none."""
        return machines.machine(self.client_ip)


class Refresh(Struct, forbid_unknown_fields=True):
    """The refresh token that is good now."""

    refresh_token: Token


class Logout(Struct, forbid_unknown_fields=True):
    """Any refresh token of the session; `everywhere` ends all sessions of its user."""

    refresh_token: Token
    everywhere: bool = False


class ResetRequest(Struct, forbid_unknown_fields=True):
    """Whose password is to be set anew, and from which machine that is asked for."""

    email: Annotated[str, Meta(max_length=1000)]
    client_ip: ClientIp

    def machine(self) -> str:
        """See `Login.machine`."""
        return machines.machine(self.client_ip)


class Reset(Struct, forbid_unknown_fields=True):
    """The token of the mail, and the new password."""

    token: Token
    password: Password


class Proof(Struct, forbid_unknown_fields=True):
    """The token of the mail."""

    token: Token


class PasswordChange(Struct, forbid_unknown_fields=True):
    """The password that is right now, and the one that shall be."""

    old_password: GivenPassword
    new_password: Password


class DeviceProof(Struct, forbid_unknown_fields=True):
    """A code of the new device."""

    code: Code


class MyChange(Struct, forbid_unknown_fields=True):
    """What changes about oneself; what is left out stays. Mails without a locale are in English."""

    given_name: PersonName | UnsetType = UNSET
    family_name: PersonName | UnsetType = UNSET
    locale: Locale | UnsetType | None = UNSET


class EmailChange(Struct, forbid_unknown_fields=True):
    """The address that shall be, and the password, for whoever has the one has the other before long."""

    email: Email
    password: GivenPassword


class NewUser(Struct, forbid_unknown_fields=True):
    """A user to be. Without a password a link is sent to the address, by which they set one; without a locale, in English."""

    email: Email
    given_name: PersonName = ""
    family_name: PersonName = ""
    roles: Annotated[list[Role], Meta(max_length=len(Role))] = []
    password: Password | None = None
    locale: Locale | None = None


class UserChange(MyChange, forbid_unknown_fields=True):
    """What changes about a user; `version` is the one that was seen, where it matters."""

    email: Email | UnsetType = UNSET
    roles: Annotated[list[Role], Meta(max_length=len(Role))] | UnsetType = UNSET
    version: int | None = None


Scopes = Annotated[list[Scope], Meta(max_length=len(Scope))]


class NewClient(Struct, forbid_unknown_fields=True):
    """A service client to be, and what it may do."""

    name: Annotated[
        str,
        Meta(
            pattern=r"^[a-z][a-z0-9-]{1,62}$",
            extra={FAULT: "is 2 to 63 small letters, digits and hyphens, and begins with a letter"},
        ),
    ]
    scopes: Scopes


class ScopesChange(Struct, forbid_unknown_fields=True):
    """What a client may do from now on, and why."""

    scopes: Scopes
    reason: Reason


class CredentialOrder(Struct, forbid_unknown_fields=True):
    """A public key as a JWK (RFC 7517); without one a secret is made."""

    public_key: dict[str, Any] | None = None
    expires_at: Annotated[datetime, Meta(tz=True)] | None = None

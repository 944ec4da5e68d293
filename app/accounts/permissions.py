"""What callers may do: scopes of service clients, and what the roles of users come to.

A user never may more than the client through which they signed in: what counts is what both have.
"""

from collections.abc import Collection
from enum import StrEnum


class Role(StrEnum):
    """What a user is to AstroBookings."""

    CUSTOMER = "customer"
    SUPPLIER = "supplier"
    EMPLOYEE = "employee"
    OPERATOR = "operator"
    AUDITOR = "auditor"
    ADMIN = "admin"


class Scope(StrEnum):
    """What a call may do; each route names the one that it needs."""

    USERS_AUTHENTICATE = "users:authenticate"
    USERS_READ = "users:read"
    USERS_WRITE = "users:write"
    LOGS_READ = "logs:read"
    LOGS_WRITE = "logs:write"
    NOTIFICATIONS_SEND = "notifications:send"
    NOTIFICATIONS_READ = "notifications:read"
    SCHEDULES_WRITE = "schedules:write"
    RECONCILIATION_EVENT = "reconciliation:event"
    RECONCILIATION_RUN = "reconciliation:run"
    RECONCILIATION_READ = "reconciliation:read"
    RECONCILIATION_OPERATE = "reconciliation:operate"
    AUDIT_READ = "audit:read"
    QUEUES_OPERATE = "queues:operate"
    CLIENTS_ADMIN = "clients:admin"


_AUDITING = frozenset(
    {Scope.LOGS_READ, Scope.RECONCILIATION_READ, Scope.AUDIT_READ, Scope.NOTIFICATIONS_READ}
)
_OPERATING = _AUDITING | {
    Scope.USERS_READ,
    Scope.USERS_WRITE,
    Scope.NOTIFICATIONS_SEND,
    Scope.SCHEDULES_WRITE,
    Scope.RECONCILIATION_EVENT,
    Scope.RECONCILIATION_RUN,
    Scope.RECONCILIATION_OPERATE,
    Scope.QUEUES_OPERATE,
}

SCOPES_OF: dict[Role, frozenset[Scope]] = {
    Role.CUSTOMER: frozenset(),
    Role.SUPPLIER: frozenset(),
    Role.EMPLOYEE: frozenset(),
    Role.AUDITOR: _AUDITING,
    Role.OPERATOR: _OPERATING,
    Role.ADMIN: frozenset(Scope) - {Scope.USERS_AUTHENTICATE, Scope.LOGS_WRITE},
}

ORDINARY_ROLES = frozenset({Role.CUSTOMER, Role.SUPPLIER, Role.EMPLOYEE})
"""What whoever may write users may give; the other roles are an admin's to give."""

NEED_SECOND_FACTOR = frozenset({Role.OPERATOR, Role.AUDITOR, Role.ADMIN})

MULTIPLE_FACTORS = "mfa"
"""Among the methods of a session for which more than one factor was used (RFC 8176)."""


def counting(roles: Collection[Role], methods: Collection[str], *, strict: bool) -> list[Role]:
    """The roles that count for somebody who has signed in by these methods (RFC 8176).

    Where that is asked for, those that need a second factor do nothing in a session that none was used for: that its user has one
    tells nothing of who holds the session.
    """
    every = not strict or MULTIPLE_FACTORS in methods
    return [each for each in Role if each in roles and (every or each not in NEED_SECOND_FACTOR)]


def scopes_of(roles: Collection[Role], client: Collection[Scope]) -> list[Scope]:
    """What a user with these roles may do through a client with these scopes, in the order of `Scope`."""
    own = frozenset[Scope]().union(*(SCOPES_OF[each] for each in roles))
    return [each for each in Scope if each in own and each in client]


def spelled(scopes: Collection[Scope]) -> str:
    """Scopes as a token names them (RFC 6749, section 3.3)."""
    return " ".join(each for each in Scope if each in scopes)


def grantable(scopes: Collection[Scope]) -> frozenset[Role]:
    """The roles that a caller may give and take, and so the users that they may change.

    Whoever may make clients of any scope has all power already. An admin's role alone is not asked for: through a client that
    may less than its admin, the admin may no more than the client.
    """
    return frozenset(Role) if Scope.CLIENTS_ADMIN in scopes else ORDINARY_ROLES

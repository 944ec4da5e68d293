"""The people who log in: of each status, so that every way to be refused can be tried."""

from app.accounts import credentials, users
from app.accounts.encryption import safe_of
from app.accounts.permissions import Role
from app.accounts.service import Accounts
from app.accounts.users import Profile
from app.accounts.views import Status
from app.notifications.asking.account_mails import AccountMails
from app.stores.connections import Stores

FROM = {"client_ip": "192.0.2.1"}
"""Where they all sit."""
PASSWORD = "a song about seven small ships"
PEOPLE = 20
# Whose passwords are tried wrongly, and those who log in rightly: too many wrong tries in a row shut an account.
_KINDS = {
    "active": Status.ACTIVE,
    "guest": Status.ACTIVE,
    "locked": Status.LOCKED,
    "disabled": Status.DISABLED,
}


async def add_people(stores: Stores) -> None:
    """So many of each kind, by the addresses `<kind><number>@example.com`, all with the same password."""
    accounts = Accounts.of(stores, AccountMails(stores.settings, safe_of(stores.settings)))
    for kind, status in _KINDS.items():
        for number in range(PEOPLE):
            await _add(accounts, f"{kind}{number}@example.com", status)
    accounts.close()


async def _add(accounts: Accounts, email: str, status: Status) -> None:
    every = frozenset(Role)
    user = await credentials.invite(accounts, Profile(email), PASSWORD, by="benchmark", may_grant=every)
    if status is not Status.ACTIVE:
        await users.move_user(
            accounts.stores, user.id, status, by="benchmark", reason="benchmark", may_grant=every
        )

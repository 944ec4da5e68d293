"""The open stores of the process, for handlers that take `stores`, and its accounts."""

from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import SkipValidation

from app.accounts.service import Accounts
from app.stores.connections import Stores

Opened = NamedDependency[SkipValidation[Stores]]


def opened_stores(state: State) -> Stores:
    """The stores of this process; see `web.app.running`."""
    stores: Stores = state.stores
    return stores


def held_accounts(state: State) -> Accounts:
    """The accounts of this process."""
    accounts: Accounts = state.accounts
    return accounts

"""What signing in needs, held together for as long as a process serves."""

from dataclasses import dataclass
from typing import Self

from app.accounts.calling import TOKEN_ENDPOINT
from app.accounts.client_authentication import ClientDesk
from app.accounts.encryption import Safe, safe_of
from app.accounts.hashing import Cost, Hasher, HashingRoom, Peppers
from app.accounts.limits import Limit, SignInLimits, free_of
from app.accounts.mails import Mails
from app.accounts.token_keys import TokenKeys
from app.accounts.tokens import Tokens
from app.clock import Clock, now
from app.stores.connections import Stores
from config.settings import Settings


@dataclass(frozen=True)
class Accounts:
    """The stores, and what guards them."""

    stores: Stores
    hashing: HashingRoom
    clients: ClientDesk
    tokens: Tokens
    limits: SignInLimits
    safe: Safe
    mails: Mails
    strict: bool
    """Whether operators, auditors and admins may do nothing without a second factor."""
    clock: Clock = now

    @classmethod
    def of(cls, stores: Stores, mails: Mails) -> Self:
        """As the settings want it. Raises SettingsError where secrets are missing."""
        chosen = stores.settings
        safe = safe_of(chosen)
        hashing = hashing_of(chosen)
        return cls(
            stores=stores,
            hashing=hashing,
            clients=ClientDesk(stores.core, (chosen.issuer_url, f"{chosen.issuer_url}{TOKEN_ENDPOINT}")),
            tokens=Tokens(TokenKeys(stores.core, safe), chosen.issuer_url),
            limits=_limits(stores, hashing),
            safe=safe,
            mails=mails,
            strict=chosen.environment != "embedded",
        )

    def close(self) -> None:
        """Check no more passwords."""
        self.hashing.close()


def _limits(stores: Stores, hashing: HashingRoom) -> SignInLimits:
    account, address, everybody = (
        getattr(stores.settings, f"sign_in_{name}failures") for name in ("account_", "address_", "")
    )
    return SignInLimits(
        stores.broker,
        stores.settings.namespace,
        hashing.pseudonym,
        account=Limit(account, free_of(account)),
        address=Limit(address, address),
        everybody=Limit(everybody, everybody),
    )


def hashing_of(chosen: Settings) -> HashingRoom:
    """As the settings want it; to be closed. Raises SettingsError where there is no pepper."""
    return HashingRoom(hasher_of(chosen), megabytes=chosen.password_megabytes)


def hasher_of(chosen: Settings) -> Hasher:
    """As the settings want it. Raises SettingsError where there is no pepper."""
    peppers = Peppers(chosen.keys("password_peppers"), chosen.current_key("password_peppers"))
    return Hasher(Cost(chosen.password_memory_kib, chosen.password_passes, chosen.password_lanes), peppers)

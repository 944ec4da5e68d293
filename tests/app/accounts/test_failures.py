"""Wrong tries in a row, and what is kept and logged of them."""

import pytest

from app.accounts import credentials, emails, failures, users
from app.accounts.limits import Limit, SignInLimits, TooManyAttemptsError
from app.accounts.service import Accounts
from app.accounts.signing_in import Credentials, SignInRefusedError, sign_in
from app.accounts.users import Profile, ProfileChange
from app.accounts.views import Status, UserView
from app.errors import BusyError, InvalidInputError, StoreUnavailableError
from tests.app.accounts.conftest import EVERY, PASSWORD, SHOP, Mailbox, facts
from tests.app.accounts.test_signing_in import FullRoom

ADA = "ada@example.com"
NEW = "another long enough secret"


async def tried(accounts: Accounts) -> int:
    return int(await accounts.stores.core.fetchval("SELECT COALESCE(sum(failures), 0) FROM sign_in_failures"))


async def try_wrongly(accounts: Accounts, email: str = ADA) -> None:
    with pytest.raises(SignInRefusedError):
        await sign_in(accounts, Credentials(email, "wrong", client_ip="192.0.2.77"), SHOP)


async def change(accounts: Accounts, user: UserView, old: str) -> None:
    await credentials.change_password(accounts, user.id, old, NEW, keep=None, by=f"user:{user.id}")


async def test_what_a_deleted_user_tried_is_forgotten(accounts: Accounts, ada: UserView) -> None:
    await try_wrongly(accounts)
    await try_wrongly(accounts, "nobody@example.com")
    await users.delete_user(accounts, ada.id, by="test", reason="x", may_grant=EVERY)
    assert await tried(accounts) == 1


async def test_a_wrong_old_password_is_a_wrong_try_that_shuts_no_door(
    accounts: Accounts, ada: UserView
) -> None:
    from dataclasses import replace

    limits = SignInLimits(
        accounts.stores.broker,
        accounts.stores.settings.namespace,
        accounts.hashing.pseudonym,
        account=Limit(1, 1),
    )
    limited = replace(accounts, limits=limits)
    with pytest.raises(InvalidInputError):
        await change(limited, ada, "wrong")
    assert await tried(accounts) == 1
    with pytest.raises(TooManyAttemptsError):
        await change(limited, ada, PASSWORD)
    await sign_in(limited, Credentials(ADA, PASSWORD), SHOP)


async def test_after_a_hundred_wrong_tries_nobody_changes_the_password(
    accounts: Accounts, ada: UserView
) -> None:
    for _ in range(failures.MOST):
        with pytest.raises(InvalidInputError):
            await change(accounts, ada, "wrong")
    with pytest.raises(InvalidInputError):
        await change(accounts, ada, PASSWORD)
    assert (await facts(accounts.stores)).count("sign-in:block") == 1


async def test_what_nobody_had_time_for_is_no_wrong_try(accounts: Accounts, ada: UserView) -> None:
    from dataclasses import replace

    limits = SignInLimits(
        accounts.stores.broker,
        accounts.stores.settings.namespace,
        accounts.hashing.pseudonym,
        account=Limit(1, 1),
    )
    for _ in range(3):
        with pytest.raises(BusyError):
            await change(replace(accounts, hashing=FullRoom(), limits=limits), ada, PASSWORD)
    assert await tried(accounts) == 0


async def test_unlocking_forgets_wrong_tries(accounts: Accounts, ada: UserView) -> None:
    from dataclasses import replace

    limits = SignInLimits(
        accounts.stores.broker,
        accounts.stores.settings.namespace,
        accounts.hashing.pseudonym,
        account=Limit(1, 1),
    )
    limited = replace(accounts, limits=limits)
    await try_wrongly(limited)
    await users.move_user(accounts.stores, ada.id, Status.LOCKED, by="test", reason="x", may_grant=EVERY)
    await credentials.unlock(limited, ada.id, by="test", reason="x", may_grant=EVERY)
    assert await tried(accounts) == 0
    await sign_in(limited, Credentials(ADA, PASSWORD), SHOP)


async def test_who_is_in_is_told_so_also_where_the_counts_have_gone_meanwhile(
    accounts: Accounts, ada: UserView, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_: object) -> None:
        raise StoreUnavailableError("the counts are away")

    monkeypatch.setattr(accounts.limits, "take_back", away)
    assert (await sign_in(accounts, Credentials(ADA, PASSWORD), SHOP)).user == ada.id


@pytest.mark.parametrize("how", ["added", "changed by an operator", "changed by its user"])
async def test_what_was_tried_before_anybody_had_the_address_is_held_against_nobody(
    accounts: Accounts, ada: UserView, how: str, mails: Mailbox
) -> None:
    new = "countess@example.com"
    await try_wrongly(accounts, new)
    await accounts.stores.core.execute("UPDATE sign_in_failures SET failures = $1", failures.MOST)
    match how:
        case "added":
            await credentials.invite(accounts, Profile(new), PASSWORD, by="test", may_grant=EVERY)
        case "changed by an operator":
            change = ProfileChange(email=new)
            await users.change_user(accounts, ada.id, change, by="test", may_grant=EVERY)
        case _:
            await emails.ask_change(accounts, ada.id, new, PASSWORD, session=None, by="test")
            await emails.confirm_change(accounts, mails.links[0].token, by="test")
    await sign_in(accounts, Credentials(new, PASSWORD), SHOP)
    await try_wrongly(accounts, new)
    assert await failures.failures_of(accounts, new) == 1


async def test_wrong_tries_are_counted_from_one_for_whoever_has_the_address_now(accounts: Accounts) -> None:
    for _ in range(2):
        await try_wrongly(accounts, "bob@example.com")
    bob = Profile("bob@example.com")
    await credentials.invite(accounts, bob, PASSWORD, by="test", may_grant=EVERY)
    assert await failures.failures_of(accounts, "bob@example.com") == 0
    await try_wrongly(accounts, "bob@example.com")
    await try_wrongly(accounts, "bob@example.com")
    assert await failures.failures_of(accounts, "bob@example.com") == 2


async def test_who_could_not_be_let_in_again_wholly_is_locked_still(
    accounts: Accounts, ada: UserView, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_: str) -> bool:
        raise StoreUnavailableError("the counts are away")

    await users.move_user(accounts.stores, ada.id, Status.LOCKED, by="test", reason="x", may_grant=EVERY)
    with monkeypatch.context() as patched:
        patched.setattr(accounts.limits, "lift", away)
        with pytest.raises(StoreUnavailableError):
            await credentials.unlock(accounts, ada.id, by="test", reason="x", may_grant=EVERY)
    assert (await users.get_user(accounts.stores, ada.id)).status is Status.LOCKED
    await credentials.unlock(accounts, ada.id, by="test", reason="x", may_grant=EVERY)
    await sign_in(accounts, Credentials(ADA, PASSWORD), SHOP)

"""Signing in, against real stores."""

from base64 import b32decode
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from app.accounts import credentials, devices, failures, users
from app.accounts.client_authentication import Client
from app.accounts.hashing import Cost, Hasher, HashingRoom, Peppers, Verdict
from app.accounts.limits import Limit, SignInLimits, TooManyAttemptsError
from app.accounts.permissions import Role, Scope
from app.accounts.service import Accounts
from app.accounts.sessions import SignedIn
from app.accounts.signing_in import (
    Credentials,
    SecondFactorNeededError,
    SignInRefusedError,
    sign_in,
)
from app.accounts.views import Status, UserView
from app.errors import BusyError, StoreUnavailableError
from app.stores.connections import open_redis
from tests.app.accounts.conftest import (
    EVERY,
    PASSWORD,
    PEPPERS,
    SHOP,
    Mailbox,
    Time,
    create_user,
    facts,
    user_with,
)

SHOP_ONLY = Client("shop", [Scope.USERS_AUTHENTICATE])


async def enter(
    accounts: Accounts, email: str = "ada@example.com", password: str = PASSWORD, **more: str
) -> SignedIn:
    return await sign_in(accounts, Credentials(email, password, **more), SHOP)


async def test_the_right_password_starts_a_session(accounts: Accounts, ada: UserView) -> None:
    signed_in = await enter(accounts, "ADA@Example.com", client_ip="192.0.2.7", device="a phone")
    claims = await accounts.tokens.read(signed_in.access_token)
    assert (claims.sub, claims.sid, claims.amr, claims.aud) == (
        str(ada.id),
        signed_in.session,
        ["pwd"],
        "shop",
    )
    row = await accounts.stores.core.fetchrow(
        "SELECT user_id, client, device, host(client_ip) AS ip FROM sessions"
    )
    assert tuple(row) == (ada.id, "shop", "a phone", "192.0.2.7")
    assert "session:start" in await facts(accounts.stores)


async def test_neither_password_nor_tokens_are_kept_in_clear(accounts: Accounts, ada: UserView) -> None:
    signed_in = await enter(accounts)
    kept = ""
    for table in ("users", "sessions", "refresh_tokens", "audit_outbox"):
        kept += str(await accounts.stores.core.fetchval(f"SELECT string_agg(t::text, ' ') FROM {table} t"))
    for secret in (PASSWORD, signed_in.refresh_token, signed_in.access_token):
        assert secret not in kept


@pytest.mark.parametrize(
    ("email", "password"),
    [
        ("ada@example.com", "wrong horse battery staple"),
        ("ada@example.com", ""),
        ("ada@example.com", "x" * 100_000),
        ("nobody@example.com", PASSWORD),
        ("no address", PASSWORD),
        ("", ""),
        ("\x00\ud800", "\ud800"),
        ("pending@example.com", PASSWORD),
        ("pending@example.com", ""),
        ("locked@example.com", PASSWORD),
        ("disabled@example.com", PASSWORD),
    ],
)
async def test_whatever_is_wrong_the_answer_is_the_same(
    accounts: Accounts, ada: UserView, email: str, password: str
) -> None:
    stores = accounts.stores
    await create_user(stores, users.Profile("pending@example.com"))
    for status in (Status.LOCKED, Status.DISABLED):
        user = await user_with(accounts, f"{status}@example.com")
        await users.move_user(stores, user.id, status, by="test", reason="x", may_grant=EVERY)
    with pytest.raises(SignInRefusedError) as told:
        await enter(accounts, email, password)
    assert str(told.value) == "the address or the password is wrong"
    assert await stores.core.fetchval("SELECT sum(failures) FROM sign_in_failures") == 1
    assert await stores.core.fetchval("SELECT count(*) FROM sessions") == 0


async def test_after_a_hundred_wrong_tries_only_a_new_password_helps(
    accounts: Accounts, ada: UserView, mails: Mailbox
) -> None:
    for _ in range(failures.MOST):
        with pytest.raises(SignInRefusedError):
            await enter(accounts, password="wrong")
    with pytest.raises(SignInRefusedError):
        await enter(accounts)
    assert (await facts(accounts.stores)).count("sign-in:block") == 1
    await credentials.send_reset(accounts, ada.id, by="test", may_grant=EVERY)
    await credentials.reset_password(accounts, mails.links[0].token, PASSWORD, by="test")
    await enter(accounts)


async def test_an_operator_lets_somebody_try_again(accounts: Accounts, ada: UserView) -> None:
    for _ in range(failures.MOST):
        with pytest.raises(SignInRefusedError):
            await enter(accounts, password="wrong")
    await credentials.allow_sign_in(
        accounts, ada.id, by="test", reason="it was a script of theirs", may_grant=EVERY
    )
    await enter(accounts)


async def test_tries_in_a_row_are_forgotten_by_one_that_is_right(accounts: Accounts, ada: UserView) -> None:
    with pytest.raises(SignInRefusedError):
        await enter(accounts, password="wrong")
    await enter(accounts)
    assert await accounts.stores.core.fetchval("SELECT count(*) FROM sign_in_failures") == 0


async def test_too_many_tries_are_told_when_to_come_again_whether_anybody_has_the_address(
    accounts: Accounts,
) -> None:
    limits = SignInLimits(
        accounts.stores.broker,
        accounts.stores.settings.namespace,
        accounts.hashing.pseudonym,
        account=Limit(2, 2),
    )
    accounts = replace(accounts, limits=limits)
    await user_with(accounts, "ada@example.com")
    for email in ("ada@example.com", "nobody@example.com"):
        for _ in range(2):
            with pytest.raises(SignInRefusedError):
                await enter(accounts, email, "wrong")
        with pytest.raises(TooManyAttemptsError) as told:
            await enter(accounts, email)
        assert told.value.retry_after > 290


async def test_a_right_try_counts_for_nothing(accounts: Accounts, ada: UserView) -> None:
    limits = SignInLimits(
        accounts.stores.broker,
        accounts.stores.settings.namespace,
        accounts.hashing.pseudonym,
        account=Limit(2, 2),
    )
    for _ in range(5):
        await enter(replace(accounts, limits=limits))


class FullRoom(HashingRoom):
    """Has never any place."""

    def __init__(self) -> None:
        super().__init__(Hasher(Cost(64, 1, 1), Peppers({"p": b"3" * 32}, current="p")), megabytes=64)

    async def verify(self, *_: object, **_when: float | None) -> Verdict:
        raise BusyError("full", retry_after=2)


async def test_a_try_that_nobody_had_time_for_counts_for_nothing(accounts: Accounts, ada: UserView) -> None:
    limits = SignInLimits(
        accounts.stores.broker,
        accounts.stores.settings.namespace,
        accounts.hashing.pseudonym,
        account=Limit(1, 1),
    )
    busy = replace(accounts, hashing=FullRoom(), limits=limits)
    for _ in range(3):
        with pytest.raises(BusyError):
            await enter(busy)
    await enter(accounts)


async def test_nobody_signs_in_while_tries_cannot_be_counted(accounts: Accounts, ada: UserView) -> None:
    redis = open_redis("redis://127.0.0.1:1/0")
    with pytest.raises(StoreUnavailableError):
        await enter(replace(accounts, limits=SignInLimits(redis, "t", accounts.hashing.pseudonym)))
    await redis.aclose()
    assert await accounts.stores.core.fetchval("SELECT count(*) FROM sessions") == 0


async def test_a_stale_hash_is_made_anew(accounts: Accounts, ada: UserView) -> None:
    stronger = Hasher(Cost(128, 1, 1), Peppers({"q": b"4" * 32, "p": b"3" * 32}, current="q"))
    room = HashingRoom(stronger, megabytes=64)
    await enter(replace(accounts, hashing=room))
    kept = await accounts.stores.core.fetchval("SELECT password_hash FROM users")
    assert kept.startswith("q:$argon2id$v=19$m=128,")
    await enter(replace(accounts, hashing=room))
    room.close()


async def test_where_there_is_no_room_to_make_a_stale_hash_anew_the_user_gets_in_all_the_same(
    accounts: Accounts, ada: UserView
) -> None:
    class RoomForOne(HashingRoom):
        async def hash(self, *_password: str) -> str:
            raise BusyError("full", retry_after=2)

    room = RoomForOne(
        Hasher(Cost(64, 1, 1), Peppers({"q": b"4" * 32, "p": b"3" * 32}, current="q")), megabytes=64
    )
    await enter(replace(accounts, hashing=room))
    room.close()
    assert (await accounts.stores.core.fetchval("SELECT password_hash FROM users")).startswith("p:")


async def test_a_user_may_only_what_the_client_may_too(accounts: Accounts) -> None:
    await user_with(accounts, "auditor@example.com", Role.AUDITOR)
    relaxed = replace(accounts, strict=False)
    given = Credentials("auditor@example.com", PASSWORD)
    assert "audit:read" in (await sign_in(relaxed, given, SHOP)).scope.split()
    assert (await sign_in(relaxed, given, SHOP_ONLY)).scope == ""


async def test_roles_that_need_a_second_factor_do_nothing_without_one(accounts: Accounts) -> None:
    await user_with(accounts, "admin@example.com", Role.ADMIN)
    assert (await enter(accounts, "admin@example.com")).scope == ""


async def device_of(accounts: Accounts, user: UserView, time: Time) -> tuple[TOTP, list[str]]:
    proposed = await devices.propose_device(accounts, user.id, session=None, by="test")
    assert "otpauth://totp/AstroBookings:" in proposed.uri
    totp = TOTP(b32decode(proposed.secret), 6, SHA1(), 30)
    codes = await devices.confirm_device(accounts, user.id, code(totp, time), session=None, by="test")
    time.passes(timedelta(seconds=60))
    return totp, codes


def code(totp: TOTP, time: Time) -> str:
    return totp.generate(int(time().timestamp())).decode()


async def test_with_a_second_factor_its_code_is_needed(accounts: Accounts, time: Time) -> None:
    admin = await user_with(accounts, "admin@example.com", Role.ADMIN)
    totp, _ = await device_of(accounts, admin, time)
    with pytest.raises(SecondFactorNeededError):
        await enter(accounts, "admin@example.com")
    with pytest.raises(SignInRefusedError):
        await enter(accounts, "admin@example.com", "wrong")  # tells nothing of the second factor
    with pytest.raises(SignInRefusedError):
        await enter(accounts, "admin@example.com", code="000000")
    signed_in = await enter(accounts, "admin@example.com", code=code(totp, time))
    claims = await accounts.tokens.read(signed_in.access_token)
    assert claims.amr == ["pwd", "otp", "mfa"]
    assert "clients:admin" in claims.scope.split()


async def test_whoever_has_the_password_and_no_code_leaves_a_trace_and_is_bounded(
    accounts: Accounts, ada: UserView, time: Time, logged: list[dict[str, Any]]
) -> None:
    limits = SignInLimits(
        accounts.stores.broker, accounts.stores.settings.namespace, PEPPERS.pseudonym, address=Limit(3, 3)
    )
    totp, _ = await device_of(accounts, ada, time)
    limited = replace(accounts, limits=limits)
    for _ in range(3):
        with pytest.raises(SecondFactorNeededError):
            await enter(limited, client_ip="192.0.2.1")
    with pytest.raises(TooManyAttemptsError):
        await enter(limited, client_ip="192.0.2.1")
    assert (await facts(accounts.stores)).count("second-factor:ask") == 3
    (told, *_) = [each for each in logged if each["event"] == "code.asked"]
    shown = (limits.shown("ada@example.com"), limits.shown("192.0.2.1"), "client:shop")
    assert (told["account"], told["machine"], told["by"]) == shown
    await enter(limited, code=code(totp, time), client_ip="192.0.2.2")
    await limits.take_back(await limits.take("bob", "192.0.2.2"))


async def test_no_code_is_good_twice(accounts: Accounts, ada: UserView, time: Time) -> None:
    totp, codes = await device_of(accounts, ada, time)
    for used in (code(totp, time), codes[0]):
        await enter(accounts, code=used)
        with pytest.raises(SignInRefusedError):
            await enter(accounts, code=used)
    assert (await facts(accounts.stores)).count("recovery-code:use") == 1
    await enter(accounts, code=codes[1].upper())


async def test_a_code_is_good_half_a_minute_early_or_late_and_no_longer(
    accounts: Accounts, ada: UserView, time: Time
) -> None:
    totp, _ = await device_of(accounts, ada, time)
    early = code(totp, time)
    time.passes(timedelta(seconds=30))
    await enter(accounts, code=early)
    old = code(totp, time)
    time.passes(timedelta(seconds=90))
    with pytest.raises(SignInRefusedError):
        await enter(accounts, code=old)


async def test_who_is_locked_while_the_password_is_looked_at_does_not_get_in(
    accounts: Accounts, ada: UserView
) -> None:
    class Locking(HashingRoom):
        async def verify(self, password: str, stored: str | None, **_when: float | None) -> Verdict:
            verdict = await accounts.hashing.verify(password, stored)
            await users.move_user(
                accounts.stores, ada.id, Status.LOCKED, by="test", reason="x", may_grant=EVERY
            )
            return verdict

    room = Locking(Hasher(Cost(64, 1, 1), Peppers({"p": b"3" * 32}, current="p")), megabytes=64)
    with pytest.raises(SignInRefusedError):
        await enter(replace(accounts, hashing=room))
    room.close()
    assert await accounts.stores.core.fetchval("SELECT count(*) FROM sessions") == 0

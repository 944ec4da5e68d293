"""The second factor beside the other ways to get in."""

import pytest

from app.accounts import credentials
from app.accounts.service import Accounts
from app.accounts.signing_in import Credentials, SecondFactorNeededError, sign_in
from app.accounts.views import UserView
from tests.app.accounts.conftest import SHOP, Mailbox, Time
from tests.app.accounts.test_signing_in import code, device_of

NEW = "t7!kQz9w4x"


async def test_a_link_to_set_a_password_does_not_replace_the_second_factor(
    accounts: Accounts, ada: UserView, time: Time, mails: Mailbox
) -> None:
    totp, _ = await device_of(accounts, ada, time)
    await credentials.ask_reset(accounts, "ada@example.com", client_ip=None, by="client:shop")
    await credentials.reset_password(accounts, mails.links[0].token, NEW, by="client:shop")
    with pytest.raises(SecondFactorNeededError):
        await sign_in(accounts, Credentials("ada@example.com", NEW), SHOP)
    signed_in = await sign_in(accounts, Credentials("ada@example.com", NEW, code(totp, time)), SHOP)
    assert (await accounts.tokens.read(signed_in.access_token)).amr == ["pwd", "otp", "mfa"]

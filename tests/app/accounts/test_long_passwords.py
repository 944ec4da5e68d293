"""Long passwords are neither accepted for their length alone nor refused for their beginning, and none takes long."""

import threading

import pytest
from zxcvbn import zxcvbn

from app.accounts import credentials, passwords
from app.accounts.passwords import MOST, refusals
from app.accounts.service import Accounts

GOOD = "gT4vLq9ZxW2mRb7K"


@pytest.mark.parametrize(
    "unit",
    ["a", "abc", "letmein", "password1", "Password123!", "iloveyouforever", "passwordletmein", "qwertyuiop",
     "1234567890", "AstroBookings", "banana"],
)  # fmt: skip
@pytest.mark.parametrize("length", [41, 100, 333, MOST])
def test_what_is_weak_is_so_however_often_it_is_repeated(unit: str, length: int) -> None:
    assert refusals((unit * length)[:length], about=["ada@example.com", "Ada"])


@pytest.mark.parametrize(
    "weak",
    [
        "a" * 500,
        "password" * 20,
        "qwertyuiop" * 9,
        "1" * 41,
        "iloveyou" * 6,
    ],
)
def test_what_is_strong_is_so_beside_something_weak(weak: str) -> None:
    assert refusals(weak + GOOD) == []
    assert refusals(GOOD + weak) == []


@pytest.mark.parametrize(
    "password",
    [
        "!4397{<65%@[79@(627([2+07307@{$1",
        "o||00!0!!l0olol0|o01oo1|lo0o0|o00o0|o|lo",
        "4@8({[<369!1|70$5+7%2" * 48,
        "48({[<369!1|70$5+7%24@8b2x" * 2,
    ],
)
def test_no_password_has_many_readings_estimated(password: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def counted(text: str, **more: object) -> object:
        asked.append(text)
        return zxcvbn(text, **more)

    monkeypatch.setattr(passwords, "zxcvbn", counted)
    refusals(password)
    assert 1 <= len(asked) <= 2
    for each in asked:
        assert len(each) <= 40
        assert (
            len(passwords.enumerate_l33t_subs(passwords.relevant_l33t_subtable(each, passwords.L33T_TABLE)))
            <= 8
        )


def test_what_is_strong_is_so_after_a_long_name() -> None:
    names = ["wolfeschlegelsteinha", "usenbergerdorffwelch"]
    assert refusals("".join(names), about=names)
    assert refusals("".join(names) + GOOD, about=names) == []


def test_a_common_password_with_many_signs_for_letters_is_refused() -> None:
    assert refusals("p@55w0rdp@$$w0rd")


async def test_a_password_is_looked_at_beside_the_event_loop(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    where: list[str] = []

    def looked_at(*_: object, **__: object) -> list[str]:
        where.append(threading.current_thread().name)
        return []

    monkeypatch.setattr(credentials, "refusals", looked_at)
    await credentials.choose(accounts.hashing, GOOD, about=[])
    assert [each.startswith("hashing") for each in where] == [True]

"""Which passwords are accepted."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.accounts.passwords import LEAST, MOST, refusals

ABOUT = ("ada.lovelace@example.com", "Ada", "Lovelace")


@pytest.mark.parametrize(
    "password",
    [
        "correct horse battery staple",
        "ñandú-über-alles-42",
        "mxkqpzrtwvbnhgf",
        "七つの海を渡る小さな船の歌と風",
        "my cat Lovelace sleeps on the old radio",
        "🚀🌍🌙🪐⭐☄️🛰️👩‍🚀🔭🌌🌠",
        "kJ8#" * 3 + "vXq2mwZt",
    ],
)
def test_a_long_password_that_nobody_guesses_is_accepted(password: str) -> None:
    assert refusals(password, about=ABOUT) == []


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("a" * 15, "repeats"),
        ("a" * MOST, "repeats"),
        ("passwordpassword", "repeats"),
        ("qwertyuiopasdfgh", "commonly used"),
        ("123456789012345", "commonly used"),
        ("1qaz2wsx3edc4rfv", "very common"),
        ("iloveyouforever", "commonly used"),
        ("Ada Lovelace 1815", "little more than your name"),
        ("ada.lovelace@example.com", "little more than your name"),
        ("AstroBookings2026!", "name of this service"),
        ("Lovelace-Astrobookings-1", "little more than your name"),
    ],
)
def test_what_an_attacker_tries_first_is_refused_with_the_reason(password: str, reason: str) -> None:
    assert any(reason in each for each in refusals(password, about=ABOUT))


def test_a_second_factor_lets_it_be_shorter() -> None:
    assert refusals("xk7Qvb2pwm") == ["it has 10 characters, 15 is the least"]
    assert refusals("xk7Qvb2pwm", second_factor=True) == []
    assert refusals("xk7Qvb2", second_factor=True) == ["it has 7 characters, 8 is the least"]


def test_it_may_be_very_long_but_not_endless() -> None:
    assert refusals("correct horse battery staple " * 35) == []
    assert refusals("x" * (MOST + 1)) == ["it has 1,025 characters, 1,024 is the most"]


def test_characters_are_counted_as_they_are_hashed() -> None:
    # "é" in two code points is one character.
    assert refusals(unicodedata.normalize("NFD", "é") * (LEAST - 1)) == [
        "it has 14 characters, 15 is the least"
    ]


@given(st.text(max_size=80), st.lists(st.text(max_size=30), max_size=3), st.booleans())
def test_any_text_gets_an_answer(password: str, about: list[str], second_factor: bool) -> None:
    assert all(refusals(password, about=about, second_factor=second_factor))

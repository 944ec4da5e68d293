"""Secrets in the core DB are encrypted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.accounts.encryption import Safe

SAFE = Safe({"a": b"1" * 32, "b": b"2" * 32}, current="a")
PLACE = "users/7/totp"


@given(st.binary(max_size=200), st.text(max_size=20))
def test_what_was_locked_opens_at_its_place(secret: bytes, place: str) -> None:
    assert SAFE.open(SAFE.lock(secret, place=place), place=place) == secret


def test_a_locked_text_tells_nothing_and_is_another_one_each_time() -> None:
    locked = {SAFE.lock(b"the secret", place=PLACE) for _ in range(5)}
    assert len(locked) == 5
    assert not any("secret" in each for each in locked)


def test_it_opens_at_no_other_place() -> None:
    with pytest.raises(ValueError, match="was not locked for it"):
        SAFE.open(SAFE.lock(b"secret", place=PLACE), place="users/8/totp")


def test_an_older_key_still_opens_and_a_lost_one_is_named() -> None:
    locked = SAFE.lock(b"secret", place=PLACE)
    assert Safe(SAFE.keys, current="b").open(locked, place=PLACE) == b"secret"
    with pytest.raises(ValueError, match="locked with key a,"):
        Safe({"b": b"2" * 32}, current="b").open(locked, place=PLACE)


@pytest.mark.parametrize("locked", ["a:", "a:AAAA", "a:no base64", "nothing"])
def test_what_is_no_locked_text_is_refused(locked: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        SAFE.open(locked, place=PLACE)

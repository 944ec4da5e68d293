"""The signature of callbacks: nobody else's, unchanged, and of the last five minutes."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from hmac import new

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.notifications.delivering.signatures import BadSignatureError, check_signature, sign

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
OLD, NEW, OTHER = ("o" * 32, "n" * 32, "x" * 32)
BODY = b'{"event": "1"}'


def test_the_form_is_the_one_that_is_documented() -> None:
    seconds = str(int(NOW.timestamp()))
    right = new(NEW.encode(), f"{seconds}.".encode() + BODY, sha256).hexdigest()
    assert sign(BODY, [NEW], NOW) == f"t={seconds},v1={right}"
    check_signature(f"t={seconds}, v1={right.upper()}", BODY, [NEW], NOW)


@pytest.mark.parametrize(
    ("signed_with", "known"), [([OLD], [OLD, NEW]), ([NEW], [OLD, NEW]), ([OLD, NEW], [NEW])]
)
def test_while_secrets_change_either_is_good(signed_with: list[str], known: list[str]) -> None:
    check_signature(sign(BODY, signed_with, NOW), BODY, known, NOW)


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_a_signature_is_good_for_its_body_alone(body: bytes, other: bytes) -> None:
    header = sign(body, [NEW], NOW)
    check_signature(header, body, [NEW], NOW)
    if other != body:
        with pytest.raises(BadSignatureError, match="for this body"):
            check_signature(header, other, [NEW], NOW)


def test_another_secret_and_another_time_make_it_bad() -> None:
    header = sign(BODY, [NEW], NOW)
    with pytest.raises(BadSignatureError, match="for this body"):
        check_signature(header, BODY, [OTHER], NOW)
    with pytest.raises(BadSignatureError, match="for this body"):
        check_signature(header, BODY, [], NOW)
    later = header.replace(str(int(NOW.timestamp())), str(int(NOW.timestamp()) + 1))
    with pytest.raises(BadSignatureError, match="for this body"):
        check_signature(later, BODY, [NEW], NOW)


@pytest.mark.parametrize("seconds", [-300, 0, 300])
def test_within_five_minutes_it_is_good(seconds: int) -> None:
    check_signature(sign(BODY, [NEW], NOW), BODY, [NEW], NOW + timedelta(seconds=seconds))


@pytest.mark.parametrize("seconds", [-301, 301, 86_400])
def test_a_replay_after_five_minutes_is_refused(seconds: int) -> None:
    with pytest.raises(BadSignatureError, match="last five minutes"):
        check_signature(sign(BODY, [NEW], NOW), BODY, [NEW], NOW + timedelta(seconds=seconds))


@pytest.mark.parametrize("header", [None, ""])
def test_without_a_header_it_is_refused(header: str | None) -> None:
    with pytest.raises(BadSignatureError, match="is missing"):
        check_signature(header, BODY, [NEW], NOW)


@pytest.mark.parametrize(
    "header",
    [
        "nonsense",
        "t=1",
        "v1=ab",
        "t=1,t=2,v1=ab",
        "t=-1,v1=ab",
        "t=٣,v1=ab",
        "t=1e9,v1=ab",
        "t=1,v1=",
        "t=1,v1=é",
        "t=1,v1=ab;t=2",
        "t=1" + ",v1=ab" * 9,
        "t=1,v1=" + "a" * 10_000,
    ],
)
def test_a_header_of_another_form_is_refused(header: str) -> None:
    with pytest.raises(BadSignatureError, match="is not of the form"):
        check_signature(header, BODY, [NEW], NOW)

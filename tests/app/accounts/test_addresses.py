"""Which addresses are the same."""

import pytest

from app.accounts.addresses import address


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ada@Example.COM", "ada@example.com"),
        ("ada@BÜCHER.example", "ada@xn--bcher-kva.example"),
        ("u\u0308@example.com", "ü@example.com"),
    ],
)
def test_spellings_of_one_address_are_one(one: str, other: str) -> None:
    assert address(one).key == address(other).key


def test_domains_that_are_two_for_those_who_deliver_mail_are_two() -> None:
    assert address("eve@straße.example").key != address("eve@strasse.example").key

"""The machines of users, by their addresses."""

import pytest

from app.accounts.machines import counted, machine
from app.errors import InvalidInputError


@pytest.mark.parametrize(
    ("text", "spelled", "group"),
    [
        ("192.0.2.1", "192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1", "192.0.2.1"),
        ("0000:0000:0000:0000:0000:ffff:192.168.100.228", "192.168.100.228", "192.168.100.228"),
        ("2001:DB8:0:0::1", "2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:0:0:1", "2001:db8::ffff:0:0:1", "2001:db8::/64"),
    ],
)
def test_an_address_has_one_spelling_and_one_line(text: str, spelled: str, group: str) -> None:
    assert machine(text) == spelled
    assert counted(spelled) == group


@pytest.mark.parametrize(
    "text", ["", "here", "192.0.2.1/24", "192.0.2.256", "fe80::1%0", "::1%" + "a" * 900_000, " 192.0.2.1"]
)
def test_what_is_no_bare_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError) as told:
        machine(text)
    assert [each.where for each in told.value.faults] == ["client_ip"]

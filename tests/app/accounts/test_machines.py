"""The machines of users, by their addresses."""

import pytest

from app.accounts.machines import line, machine, network
from app.errors import InvalidInputError


@pytest.mark.parametrize(
    ("text", "spelled", "of_line", "of_network"),
    [
        ("192.0.2.1", "192.0.2.1", "192.0.2.1", None),
        ("::ffff:192.0.2.1", "192.0.2.1", "192.0.2.1", None),
        ("0000:0000:0000:0000:0000:ffff:192.168.100.228", "192.168.100.228", "192.168.100.228", None),
        ("2001:DB8:0:0::1", "2001:db8::1", "2001:db8::/64", "2001:db8::/48"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2:ffff::1", "2001:db8:1:2::/64", "2001:db8:1::/48"),
    ],
)
def test_an_address_has_one_spelling_one_line_and_one_network(
    text: str, spelled: str, of_line: str, of_network: str | None
) -> None:
    assert machine(text) == spelled
    assert (line(spelled), network(spelled)) == (of_line, of_network)


@pytest.mark.parametrize(
    "text", ["", "here", "192.0.2.1/24", "192.0.2.256", "fe80::1%0", "::1%" + "a" * 900_000, " 192.0.2.1"]
)
def test_what_is_no_bare_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError) as told:
        machine(text)
    assert [each.where for each in told.value.faults] == ["client_ip"]

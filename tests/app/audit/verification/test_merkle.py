"""The two implementations of the Merkle tree, against each other and against known roots."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.audit.sealing import merkle as sealing
from app.audit.verification import merkle as verification

# The reference data of Certificate Transparency (RFC 6962's own implementation, cpp/merkletree/merkle_tree_test.cc):
# the roots over the first one, two, … of these.
INPUTS = [
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
]  # fmt: skip
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_are_those_of_the_reference_data(size: int) -> None:
    leaves = [sealing.leaf_of(bytes.fromhex(each)) for each in INPUTS[:size]]
    assert sealing.root_of(leaves).hex() == ROOTS[size - 1]
    assert verification.tree_root(leaves).hex() == ROOTS[size - 1]


def test_the_root_of_nothing_is_the_hash_of_nothing() -> None:
    assert sealing.root_of([]) == verification.tree_root([]) == sha256(b"").digest()


@given(sequence=st.integers(1, 2**63 - 1), entry=st.binary(max_size=80))
def test_both_hash_an_entry_alike(sequence: int, entry: bytes) -> None:
    leaf = verification.leaf_hash(sequence, entry)
    assert leaf == sealing.leaf_of(sealing.leaf_data(sequence, entry))
    assert leaf == sha256(b"\x00" + sequence.to_bytes(8, "big") + entry).digest()


@pytest.mark.parametrize("size", range(41))
def test_every_inclusion_path_holds_and_none_holds_for_another_leaf(size: int) -> None:
    leaves = [verification.leaf_hash(number, b"entry") for number in range(1, size + 1)]
    root = verification.tree_root(leaves)
    assert root == sealing.root_of(leaves) == _by_the_definition(leaves)
    for index in range(size):
        path = sealing.path_of(leaves, index)
        fitting = [
            other
            for other in range(size)
            if verification.root_by_path(leaves[other], index, size, path) == root
        ]
        assert fitting == [index]
        elsewhere = [
            place
            for place in range(size)
            if verification.root_by_path(leaves[index], place, size, path) == root
        ]
        assert elsewhere == [index]


def test_a_path_that_is_too_short_or_too_long_holds_for_nothing() -> None:
    leaves = [verification.leaf_hash(number, b"entry") for number in range(1, 12)]
    for index, leaf in enumerate(leaves):
        path = sealing.path_of(leaves, index)
        assert verification.root_by_path(leaf, index, 11, path[:-1]) is None
        assert verification.root_by_path(leaf, index, 11, [*path, leaf]) is None
    assert verification.root_by_path(leaves[0], 11, 11, []) is None


def _by_the_definition(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, word by word."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    left, right = _by_the_definition(leaves[:half]), _by_the_definition(leaves[half:])
    return sha256(b"\x01" + left + right).digest()

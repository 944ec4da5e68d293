"""The Merkle tree of one seal: RFC 6962, section 2.1, with SHA-256."""

from collections.abc import Sequence
from hashlib import sha256

_LEAF = b"\x00"
_NODE = b"\x01"


def leaf_data(sequence: int, entry: bytes) -> bytes:
    """What stands for an entry in the tree: its sequence number, 8 bytes big-endian, then its bytes as stored."""
    return sequence.to_bytes(8, "big") + entry


def leaf_of(data: bytes) -> bytes:
    """The leaf hash of some data."""
    return sha256(_LEAF + data).digest()


def root_of(leaves: Sequence[bytes]) -> bytes:
    """The root over leaf hashes; that of no leaves is the hash of nothing."""
    level = list(leaves)
    while len(level) > 1:
        level = _level_above(level)
    return level[0] if level else sha256(b"").digest()


def path_of(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """The inclusion path of one leaf, from the bottom to the top (RFC 6962, section 2.1.1)."""
    level, path = list(leaves), []
    while len(level) > 1:
        sibling = index ^ 1
        if sibling < len(level):
            path.append(level[sibling])
        level, index = _level_above(level), index // 2
    return path


def _level_above(level: list[bytes]) -> list[bytes]:
    # A last node without a sibling moves up as it is: this gives the tree that the RFC defines by splitting.
    above = [
        sha256(_NODE + left + right).digest() for left, right in zip(level[::2], level[1::2], strict=False)
    ]
    return above + level[len(level) - len(level) % 2 :]

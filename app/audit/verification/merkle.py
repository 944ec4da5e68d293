"""Roots and inclusion paths as RFC 6962, section 2.1, defines them."""

from collections.abc import Iterable, Sequence
from hashlib import sha256


def leaf_hash(sequence: int, entry: bytes) -> bytes:
    """The leaf of an entry: its sequence number as 8 bytes, the highest first, then its bytes."""
    return sha256(b"\x00%b%b" % (sequence.to_bytes(8, "big"), entry)).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The node above two others."""
    return sha256(b"\x01" + left + right).digest()


def tree_root(leaves: Iterable[bytes]) -> bytes:
    """The root over leaves. It keeps the roots of perfect trees, the widest first, as a binary counter keeps digits."""
    roots: list[bytes] = []
    for count, leaf in enumerate(leaves, 1):
        roots.append(leaf)
        while count % 2 == 0:
            right = roots.pop()
            roots.append(node_hash(roots.pop(), right))
            count //= 2  # noqa: PLW2901  (its trailing zeros are the trees that are full)
    if not roots:
        return sha256(b"").digest()
    root = roots.pop()
    while roots:
        root = node_hash(roots.pop(), root)
    return root


def root_by_path(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """The root that a leaf has by its inclusion path in a tree of `size` leaves; None where no such path fits.

    The algorithm is that of RFC 9162, section 2.1.3.2.
    """
    if not 0 <= index < size:
        return None
    node, last, root = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return None
        if node % 2 or node == last:
            root = node_hash(sibling, root)
            while node % 2 == 0 and node:
                node, last = node // 2, last // 2
        else:
            root = node_hash(root, sibling)
        node, last = node // 2, last // 2
    return root if last == 0 else None

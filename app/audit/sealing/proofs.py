"""Writes proofs: that an entry is among what a seal covers, for whoever has nothing but the public key."""

from uuid import UUID

import asyncpg
from msgspec import Struct

from app.audit.sealing.merkle import leaf_data, leaf_of, path_of, root_of
from app.audit.sealing.seals import Seal
from app.audit.sealing.stream import ChainBrokenError, Stream
from app.audit.store import END, AuditStore
from app.errors import ConflictError, NotFoundError

FORMAT = "astrocore-audit-proof/1"
_COVERING = "SELECT seal FROM audit_seals WHERE first_sequence <= $1 ORDER BY first_sequence DESC LIMIT 1"


class Proof(Struct, frozen=True):
    """An entry, its inclusion path (hashes in hexadecimal, from the bottom to the top), and its seal."""

    sequence: int
    entry: str
    path: list[str]
    seal: str


class ProofFile(Struct, frozen=True):
    """What `audit prove` writes: one proof, or those of an intent and its outcome."""

    format: str
    proofs: list[Proof]


async def prove(core: asyncpg.Connection, audit: AuditStore, stream: Stream, wanted: int | UUID) -> ProofFile:
    """Proofs of the entry with this sequence number, or of those with this id: an intent and its outcome share theirs.

    Raises NotFoundError where there is none, ConflictError where it is not sealed yet, ChainBrokenError where what is
    there is not what was sealed.
    """
    sequences = await _sequences(audit, wanted)
    if not sequences:
        raise NotFoundError(f"the audit store has no entry {wanted}")
    return ProofFile(FORMAT, [await _prove(core, audit, stream, each) for each in sequences])


async def _sequences(audit: AuditStore, wanted: int | UUID) -> list[int]:
    if isinstance(wanted, int):
        there = 0 < wanted < END
        page, _ = await audit.page(None, wanted, wanted, newest_first=True, limit=1) if there else ([], None)
        return [each.sequence for each in page]
    found = await audit.find([wanted])
    return [each.sequence for pair in found.values() for each in pair if each is not None]


async def _prove(core: asyncpg.Connection, audit: AuditStore, stream: Stream, sequence: int) -> Proof:
    text = await core.fetchval(_COVERING, sequence)
    seal = Seal.read(text) if text else None
    if seal is None or seal.last < sequence:
        raise ConflictError(f"entry {sequence} is not sealed yet; the sealer comes every minute")
    page = await stream.between(seal.first, seal.last)
    page = page or await audit.archived_between(seal.first, seal.last)
    leaves = [leaf_of(leaf_data(each, entry)) for each, entry in enumerate(page, seal.first)]
    if root_of(leaves) != seal.root:
        raise ChainBrokenError(f"seal {seal.number}", "its entries are not what was sealed")
    index = sequence - seal.first
    path = [each.hex() for each in path_of(leaves, index)]
    return Proof(sequence, page[index].decode(), path, text)

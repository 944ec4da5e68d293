"""Checks a proof file: offline, by public keys alone."""

import re

import msgspec
from msgspec import Struct

from app.audit.verification.merkle import leaf_hash, root_by_path
from app.audit.verification.seals import Keys, SealRead, read_seal
from app.errors import Fault, InvalidInputError

_HASH = re.compile(r"[0-9a-f]{64}")


class _Proof(Struct):
    sequence: int
    entry: str
    path: list[str]
    seal: str


class _File(Struct):
    format: str
    proofs: list[_Proof]


class Proven(Struct, frozen=True, kw_only=True):
    """An entry that a seal of a trusted key covers."""

    sequence: int
    entry: msgspec.Raw
    seal: int
    sealed_at: str
    key: str


def check_proofs(content: bytes, keys: Keys) -> list[Proven]:
    """What a proof file proves. Raises InvalidInputError, with every fault, where it proves less than it says."""
    try:
        file = msgspec.json.decode(content, type=_File)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"this is no proof file: {error}") from error
    if file.format != "astrocore-audit-proof/1" or not file.proofs:
        raise InvalidInputError("this is no proof file of a format that is known")
    checked = [_check(proof, keys) for proof in file.proofs]
    faults = [each for each in checked if isinstance(each, Fault)]
    if faults:
        raise InvalidInputError("the proof does not hold", faults)
    return [each for each in checked if isinstance(each, Proven)]


def _check(proof: _Proof, keys: Keys) -> Proven | Fault:
    seal = read_seal(proof.seal.encode())
    where = f"entry {proof.sequence}"
    if seal is None:
        return Fault(where, "its seal is not spelled as a seal is")
    if (fault := seal.signature_fault(keys)) is not None:
        return Fault(where, f"its seal: {fault}")
    if not seal.first <= proof.sequence <= seal.last:
        return Fault(where, f"its seal covers entries {seal.first} to {seal.last}")
    if not _leads_to_root(proof, seal):
        return Fault(where, f"it is not among what seal {seal.number} has sealed")
    return Proven(
        sequence=proof.sequence,
        entry=msgspec.Raw(proof.entry.encode()),
        seal=seal.number,
        sealed_at=seal.time,
        key=seal.key,
    )


def _leads_to_root(proof: _Proof, seal: SealRead) -> bool:
    if not all(_HASH.fullmatch(each) for each in proof.path):
        return False
    leaf = leaf_hash(proof.sequence, proof.entry.encode())
    path = [bytes.fromhex(each) for each in proof.path]
    return root_by_path(leaf, proof.sequence - seal.first, seal.count, path) == seal.root

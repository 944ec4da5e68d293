"""Personal values in audit entries: encrypted with a key per person, which lies in the core DB.

In the process an entry is in clear. On its way to the store the values that its `personal` names are taken out, and one
text takes their place; on the way back they return. Whoever destroys the key forgets the person: what is stored, and
so its seal, stays as it is.

The text is the JSON of what was taken out, encrypted by AES-256-GCM (NIST SP 800-38D) as nonce || ciphertext || tag; where
it tells of several persons, that again with the next one's key. The associated data is `<kind> <id>` of the entry. Of each
key a check value is kept beside the text, so that a key which was exchanged is seen by whoever may not use it.
"""

import hashlib
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec.structs import replace

from app.audit.entries import Entry, IntentEntry, OutcomeEntry, Personal, UnreadableEntry, kind_of
from app.errors import StoreUnavailableError
from app.stores.health import POSTGRES_FAULTS

KEY_BYTES = 32
NONCE_BYTES = 12
CHECK_BYTES = 8
# Of an entry's values by its members; of an intent's by record and field.
_Values = dict[str, Any]
_PersonalEntry = IntentEntry | OutcomeEntry
_AnyEntry = TypeVar("_AnyEntry", bound=Entry | UnreadableEntry)


@dataclass(frozen=True)
class PersonKey:
    """A person's key and the id under which entries name it."""

    id: UUID
    secret: bytes

    @property
    def check(self) -> bytes:
        """Tells this key from any other one, and nothing about it."""
        return hashlib.sha256(self.secret).digest()[:CHECK_BYTES]


class PersonKeys:
    """The keys of persons, in the core DB; none is kept here. Every method raises StoreUnavailableError."""

    def __init__(self, core: asyncpg.Pool) -> None:
        self._core = core

    async def of(self, persons: Collection[str]) -> dict[str, PersonKey]:
        """The live key of each of these persons, made durable before this answers where there was none."""
        try:
            found = await self._live(persons)
            # Over again where a person is forgotten in between.
            while missing := sorted(set(persons) - found.keys()):
                await self._make(missing)
                found |= await self._live(missing)
        except POSTGRES_FAULTS as error:
            raise StoreUnavailableError("the core database does not give the keys of persons") from error
        return found

    async def secrets(self, ids: Collection[UUID]) -> dict[UUID, bytes]:
        """The keys with these ids, but those that are destroyed."""
        try:
            rows = await self._core.fetch(
                "SELECT id, key FROM person_keys WHERE id = ANY($1) AND key IS NOT NULL", list(ids)
            )
        except POSTGRES_FAULTS as error:
            raise StoreUnavailableError("the core database does not give the keys of persons") from error
        return {row["id"]: row["key"] for row in rows}

    async def _live(self, persons: Collection[str]) -> dict[str, PersonKey]:
        rows = await self._core.fetch(
            "SELECT person, id, key FROM person_keys WHERE person = ANY($1) AND key IS NOT NULL",
            list(persons),
        )
        return {row["person"]: PersonKey(row["id"], row["key"]) for row in rows}

    async def _make(self, persons: Sequence[str]) -> None:
        """In order, so that two who make the same keys wait for each other but in one direction; the first one's stay."""
        await self._core.execute(
            """
            INSERT INTO person_keys (person, key) SELECT * FROM unnest($1::text[], $2::bytea[])
            ON CONFLICT (person) WHERE key IS NOT NULL DO NOTHING
            """,
            persons,
            [os.urandom(KEY_BYTES) for _ in persons],
        )


async def destroy_key(connection: asyncpg.Connection, person: str) -> UUID | None:
    """Destroy a person's live key in the open transaction of `connection`; answers its id, None where there was none."""
    destroyed: UUID | None = await connection.fetchval(
        """
        UPDATE person_keys SET key = NULL, forgotten_at = now() WHERE person = $1 AND key IS NOT NULL RETURNING id
        """,
        person,
    )
    return destroyed


async def hide(keys: PersonKeys | None, entries: Sequence[Entry]) -> Sequence[Entry]:
    """The entries as they are stored. What has no personal values costs nothing.

    Raises StoreUnavailableError where the core DB does not answer; without `keys` nothing personal can be stored.
    """
    persons = {person for each in entries for person in _persons(each)}
    if not persons:
        return entries
    assert keys is not None, "an audit store without the keys of persons takes no values of theirs"
    known = await keys.of(persons)
    return [hidden(each, known) for each in entries]


async def reveal(keys: PersonKeys | None, entries: Sequence[_AnyEntry]) -> Sequence[_AnyEntry]:
    """The entries in clear, as they were appended, but those of which a key is destroyed; raises as `hide`.

    Without `keys` all stay as they are stored.
    """
    ids = {key for each in entries for key in _key_ids(each)}
    if not ids or keys is None:
        return entries
    secrets = await keys.secrets(ids)
    return [revealed(each, secrets) for each in entries]


def hidden(entry: Entry, keys: Mapping[str, PersonKey]) -> Entry:
    """The entry with its personal values encrypted by its persons' keys; one without any, or hidden already, as it is."""
    if not isinstance(entry, _PersonalEntry) or not entry.personal or entry.personal.is_erased:
        return entry
    own = [keys[person] for person in entry.personal.persons]
    text = msgspec.json.encode(_taken(entry, entry.personal))
    for key in own:
        nonce = os.urandom(NONCE_BYTES)
        text = nonce + AESGCM(key.secret).encrypt(nonce, text, _bound_to(entry))
    personal = replace(
        entry.personal,
        keys=tuple(each.id for each in own),
        text=text,
        checks=tuple(each.check for each in own),
    )
    return replace(entry, personal=personal, **_left(entry, personal))


def revealed(entry: _AnyEntry, secrets: Mapping[UUID, bytes]) -> _AnyEntry:
    """The entry in clear; as it is where one of its keys is not among these, or does not fit."""
    if not isinstance(entry, _PersonalEntry) or not entry.personal or entry.personal.text is None:
        return entry
    text, personal = entry.personal.text, entry.personal
    try:
        for key in reversed(personal.keys):
            text = AESGCM(secrets[key]).decrypt(text[:NONCE_BYTES], text[NONCE_BYTES:], _bound_to(entry))
    except (KeyError, InvalidTag):
        return entry
    in_clear = Personal(personal.persons, personal.fields)
    return replace(entry, personal=in_clear, **_put_back(entry, msgspec.json.decode(text)))


def _persons(entry: Entry) -> Sequence[str]:
    if not isinstance(entry, _PersonalEntry) or not entry.personal or entry.personal.is_erased:
        return ()
    return entry.personal.persons


def _key_ids(entry: Entry | UnreadableEntry) -> Sequence[UUID]:
    return entry.personal.keys if isinstance(entry, _PersonalEntry) and entry.personal else ()


def _bound_to(entry: _PersonalEntry) -> bytes:
    return f"{kind_of(entry)} {entry.id}".encode()


def _records(intent: IntentEntry) -> dict[str, dict[str, Any]]:
    """Those of its records that there are."""
    both = {"before": intent.before, "after": intent.after}
    return {name: record for name, record in both.items() if record is not None}


def _taken(entry: _PersonalEntry, personal: Personal) -> _Values:
    if isinstance(entry, OutcomeEntry):
        return {name: getattr(entry, name) for name in personal.fields}
    return {
        name: {field: value for field, value in record.items() if field in personal.fields}
        for name, record in _records(entry).items()
    }


def _left(entry: _PersonalEntry, personal: Personal) -> _Values:
    if isinstance(entry, OutcomeEntry):
        return dict.fromkeys(personal.fields)
    return {
        name: {field: value for field, value in record.items() if field not in personal.fields}
        for name, record in _records(entry).items()
    }


def _put_back(entry: _PersonalEntry, taken: _Values) -> _Values:
    if isinstance(entry, OutcomeEntry):
        return taken
    return {name: taken[name] | record for name, record in _records(entry).items()}

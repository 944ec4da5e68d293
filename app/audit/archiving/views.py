"""What operators are shown of archives."""

from datetime import datetime
from uuid import UUID

from msgspec import Struct


class ArchiveView(Struct, frozen=True):
    """An archive: the entries that it holds, when they happened (null where no index tells), and its file.

    `trimmed` is false while its entries may still lie in Redis too; `there` is whether the file lies where the web process
    looks for it, with the size that it should have.
    """

    number: int
    first: int
    last: int
    earliest: datetime | None
    latest: datetime | None
    made_at: datetime
    file: str
    bytes: int
    sha256: str
    trimmed: bool
    there: bool


class Plan(Struct, frozen=True):
    """What would be archived, and what keeps more from it, where it is not the age of what is left."""

    before: datetime
    seals: int
    entries: int
    first: int | None
    last: int | None
    held_by: str | None


class Order(Struct, frozen=True):
    """An order to archive what was sealed before an instant. Once it is finished it has counts, or why it was refused."""

    id: UUID
    before: datetime
    created_at: datetime
    finished_at: datetime | None
    archives: int | None
    entries: int | None
    refused: str | None

"""Small worlds and their drift, and what stands on each side of them."""

from datetime import UTC, datetime
from uuid import UUID

from app.demo.drift import Drift, make_drift
from app.demo.load import _documents, _rows
from app.demo.shapes import Document
from app.demo.sizes import Sizes
from app.demo.world import Row, World, make_world

BASE = datetime(2026, 3, 1, tzinfo=UTC)
LEAST = Sizes.of(500)


def drifted(sizes: Sizes = LEAST, *, seed: int = 3, share: float = 0.01) -> tuple[World, Drift]:
    world = make_world(sizes, random_seed=seed, base=BASE)
    return world, make_drift(world, share=share, random_seed=seed)


def documents(world: World, drift: Drift, entity: str) -> dict[UUID, Document]:
    return {document["_id"]: document for document in _documents(world, drift, entity)}


def rows(world: World, drift: Drift, table: str) -> dict[UUID, Row]:
    return {row["id"]: row for row in _rows(world, drift, table)}

"""Fill both databases with a world and its drift, and write down what is expected of the repair."""

import json
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from app.demo.drift import MOST_DRIFT, Drift, Truth, make_drift
from app.demo.errors import DemoError
from app.demo.fingerprints import FINGERPRINTS, fingerprints
from app.demo.load import DOCUMENTS, Progress, count_records, count_to_load, empty, load
from app.demo.shapes import ENTITIES
from app.demo.world import Sizes, World, make_world, midnight
from app.stores.connections import Stores

TRUTH_FILE = "truth.jsonl"
SEEDED_FILE = "seeded.parquet"


@dataclass(frozen=True)
class Plan:
    """What to seed. The same plan on the same day (UTC) gives the same data."""

    sizes: Sizes
    drift: float = 0.01
    random_seed: int = 1

    def __post_init__(self) -> None:
        """Raises ValueError where the share of drift is out of range."""
        if not 0 <= self.drift <= MOST_DRIFT:
            raise ValueError(
                f"a drift of {self.drift} is out of range; give a share of the records from 0 to {MOST_DRIFT}"
            )


@dataclass(frozen=True)
class Seeded:
    """What was seeded: records of each entity, lines of the truth by what is expected, and where the files are."""

    records: dict[str, int]
    expected: dict[str, int]
    truth: Path
    seeded: Path
    seconds: float


def refuse_production(stores: Stores) -> None:
    """Demo data and demo traffic have no place in production. Raises DemoError there."""
    if stores.settings.environment == "production":
        raise ConflictError(
            "demo data is refused in production; ASTROCORE_ENVIRONMENT must be embedded or development"
        )


async def refuse_filled(stores: Stores) -> None:
    """Raises DemoError, naming what is there, where the databases are not empty."""
    if found := await count_records(stores):
        raise DemoError(f"the databases are not empty: {spell(found)}", "--force empties them first")


async def seed(
    stores: Stores, plan: Plan, *, now: datetime, force: bool, starting: Progress, progress: Progress
) -> Seeded:
    """Load the plan's world with its drift, and write the truth and the fingerprints into the data directory.

    `starting` is told how many records a stage has, `progress` how many more are done. With `force` both databases
    are emptied first; without it, DemoError is raised where they hold anything. ValueError means that the plan cannot be
    carried out, and that nothing was changed; a store that fails half-way leaves documents but no rows.
    """
    refuse_production(stores)
    started = time.monotonic()
    if not force:
        await refuse_filled(stores)
    world = make_world(plan.sizes, random_seed=plan.random_seed, base=midnight(now))
    drift = make_drift(world, share=plan.drift, random_seed=plan.random_seed)
    truth, seeded = files(stores.settings.data_dir)
    if force:
        await empty(stores, starting, progress)
    for stage, total in count_to_load(world).items():
        starting(stage, total)
    await load(stores, world, drift, progress)
    starting(FINGERPRINTS, count_to_load(world)[DOCUMENTS])
    frame, _ = await fingerprints(stores, progress)
    frame.write_parquet(seeded)
    truth.write_text("".join(truth_line(line) for line in drift.truth), encoding="utf-8")
    return _summary(world, drift, truth, seeded, time.monotonic() - started)


def files(data_dir: Path) -> tuple[Path, Path]:
    """Where the truth and the fingerprints are; the folder is made."""
    data_dir.mkdir(parents=True, exist_ok=True)
    return data_dir / TRUTH_FILE, data_dir / SEEDED_FILE


def truth_line(line: Truth) -> str:
    return json.dumps(line.as_dict(), ensure_ascii=False) + "\n"


def spell(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _summary(world: World, drift: Drift, truth: Path, seeded: Path, seconds: float) -> Seeded:
    expected: dict[str, int] = {}
    for line in drift.truth:
        expected[line.expected.value] = expected.get(line.expected.value, 0) + 1
    records = {entity: len(getattr(world, entity)) for entity in ENTITIES}
    return Seeded(records, expected, truth, seeded, round(seconds, 1))

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
from app.demo.sizes import Sizes
from app.demo.world import World, make_world, midnight
from app.stores.connections import Stores
from config.settings import Settings

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


def refuse_production(settings: Settings) -> None:
    """Demo data and demo traffic have no place in production. Raises DemoError there."""
    if settings.environment == "production":
        raise DemoError(
            "demo data and traffic are refused in production",
            "ASTROCORE_ENVIRONMENT must be embedded or development",
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
    are emptied first; without it, DemoError is raised where they hold anything. A store that fails half-way leaves
    documents but no rows.
    """
    refuse_production(stores.settings)
    started = time.monotonic()
    if not force:
        await refuse_filled(stores)
    world, drift = _make(plan, now)
    truth, seeded = _write_truth(stores.settings.data_dir, drift)
    if force:
        await empty(stores, starting, progress)
    for stage, total in count_to_load(world).items():
        starting(stage, total)
    await load(stores, world, drift, progress)
    starting(FINGERPRINTS, count_to_load(world)[DOCUMENTS])
    frame, _ = await fingerprints(stores, progress)
    frame.write_parquet(seeded)
    return _summary(world, drift, truth, seeded, time.monotonic() - started)


def _make(plan: Plan, now: datetime) -> tuple[World, Drift]:
    world = make_world(plan.sizes, random_seed=plan.random_seed, base=midnight(now))
    try:
        return world, make_drift(world, share=plan.drift, random_seed=plan.random_seed)
    except ValueError as error:
        raise DemoError(str(error), "nothing was changed; another --random-seed may do as well") from error


def _write_truth(data_dir: Path, drift: Drift) -> tuple[Path, Path]:
    """Write the truth file, before anything else is written; answers where it and the fingerprints are."""
    truth, seeded = data_dir / TRUTH_FILE, data_dir / SEEDED_FILE
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        seeded.unlink(missing_ok=True)
        truth.write_text("".join(truth_line(line) for line in drift.truth), encoding="utf-8")
    except OSError as error:
        raise DemoError(
            f"{data_dir} cannot be written to", "ASTROCORE_DATA_DIR says where to write"
        ) from error
    return truth, seeded


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

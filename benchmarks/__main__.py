"""``python -m benchmarks NAME [--quick] [--json]``: run one benchmark, or `all`, on embedded stores of its own."""

import argparse
import importlib
import signal
import sys
import time

from loguru import logger

from app.embedded.launch import EmbeddedStores
from app.reconciliation.mapping import load_mappings
from config.settings import parse_settings

NAMES = (
    "seed",
    "reconcile",
    "growth",
    "incremental",
    "repairs",
    "events",
    "audit",
    "seals",
    "logs",
    "logins",
    "notifications",
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", choices=[*NAMES, "all"])
    parser.add_argument("--quick", action="store_true", help="small sizes, within a minute")
    parser.add_argument("--records", type=int, help="other sizes, by hand: how many records a side")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    chosen = parser.parse_args()
    # As if it were Ctrl-C: what was started for a benchmark ends with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    logger.remove()  # figures, not what the product says while they are taken
    good = True
    for name in NAMES if chosen.name == "all" else (chosen.name,):
        good = _run(name, chosen) and good
    return 0 if good else 1


def _run(name: str, chosen: argparse.Namespace) -> bool:
    module = importlib.import_module(f"benchmarks.{name}")
    started = time.monotonic()
    if not chosen.json:
        print(f"{name}: {module.__doc__.splitlines()[0]}", flush=True)
    good = True
    # The whole system where a benchmark drives it from outside, the stores alone elsewhere.
    stores = EmbeddedStores(what=getattr(module, "NEEDS", "stores"))
    stores.start()
    try:
        own = {"ASTROCORE_DATA_DIR": str(stores.data_dir), "ASTROCORE_MAPPINGS": "benchmarks.bookings"}
        settings = parse_settings(stores.environment | own)
        load_mappings(settings.mappings)
        for figure in module.run(settings, quick=chosen.quick, records=chosen.records):
            print(figure.as_json() if chosen.json else f"  {figure.as_text()}", flush=True)
            good = good and figure.ok
    finally:
        stores.stop()
    if not chosen.json:
        print(f"  took {time.monotonic() - started:.0f} s", file=sys.stderr)
    return good


if __name__ == "__main__":
    sys.exit(main())

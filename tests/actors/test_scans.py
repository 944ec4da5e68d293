"""What scans left that were killed goes when a worker starts, before it takes a message."""

import os
import subprocess
import sys
from pathlib import Path

_SCRIPT = """
from types import SimpleNamespace

from actors import broker

broker.worker_stores._stores = "open already"
broker.get_event_loop_thread = lambda: "a loop"
broker.worker_stores.before_worker_boot(broker.broker, SimpleNamespace(worker_threads=1))
"""


def test_a_worker_that_starts_removes_what_killed_scans_left(
    stores_environment: dict[str, str], tmp_path: Path
) -> None:
    left = tmp_path / "scans" / "astrocore-scan-left"
    left.mkdir(parents=True)
    (left / "document-0").write_text("ada@personal.example")
    subprocess.run(
        [sys.executable, "-c", _SCRIPT],
        env={**os.environ, **stores_environment, "ASTROCORE_DATA_DIR": str(tmp_path)},
        check=True,
    )
    assert not left.exists()

from itertools import pairwise

import pytest

from app.reconciliation.running import execution
from app.reconciliation.scanning.scan import KeyRange
from tests.app.reconciliation.running.run_steps import Stage


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Runs have the partitions "", "1", "2", each read in no time."""
    made = Stage()
    monkeypatch.setattr(execution, "scan", made.scan)
    borders = [None, "1", "2", None]
    ranges = [KeyRange(low, high) for low, high in pairwise(borders)]
    monkeypatch.setattr(execution, "plan_ranges", lambda *_: ranges)
    return made

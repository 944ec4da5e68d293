import shutil
import tempfile
from pathlib import Path

import pytest


@pytest.fixture
def folder():
    """A folder that PostgreSQL's user can reach when the tests run as root; pytest's own cannot be."""
    path = Path(tempfile.mkdtemp(prefix="astrocore-test-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)

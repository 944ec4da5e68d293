"""The ways in: for the command line, and for tests and benchmarks that need running stores."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from app.embedded.directory import DataDirectory
from app.embedded.errors import EmbeddedError
from app.embedded.plan import data_dir, given_values
from app.embedded.system import Options, System
from config.settings import PREFIX

READY_SECONDS = 60.0
STOP_SECONDS = 10.0
WHOLE = "up"
STORES = "stores"

What = Literal["up", "stores"]


def run(what: What, *, environ: Mapping[str, str], options: Options) -> None:
    """Run the system, or its stores, until a signal asks to stop. Call it from the main thread.

    Raises EmbeddedError or SettingsError where it cannot start.
    """
    with DataDirectory.open(data_dir(environ)) as directory:
        system = System(directory, given_values(environ), options)
        asyncio.run(system.up() if what == WHOLE else system.stores())

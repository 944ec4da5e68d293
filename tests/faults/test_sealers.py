"""Two sealers at once, in processes of their own, and killed at any moment: one chain, of every entry.

Whoever verifies meanwhile finds nothing wrong.
"""

import asyncio
import os
import random
import sys
from pathlib import Path

import pytest

from app.audit.sealing.seals import Seal
from config.settings import PREFIX, Settings
from tests.app.audit.sealed import SealedStore, open_sealed

KILLS = int(os.environ.get("KILLS", "20"))
_SEALER = """
import asyncio
from app.audit.sealing import sealer
from app.audit.sealing.keys import Keyring
from app.audit.sealing.stream import Stream
from app.stores.connections import open_stores
from config.settings import settings

sealer.BATCH = 20

async def main():
    async with open_stores(settings()) as stores:
        made = sealer.Sealer(stores.core, Stream.of(stores.audit, stores.settings.namespace), Keyring.of(settings()))
        print("ready", flush=True)
        while True:
            await made.seal_new()

asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_sealers_that_are_killed_at_any_moment_leave_one_chain(
    settings_of_test: Settings, tmp_path: Path
) -> None:
    async with open_sealed(settings_of_test) as store:
        appending = asyncio.create_task(_append(store))
        sealers = [await _start(store.settings, tmp_path) for _ in range(2)]
        try:
            for _ in range(KILLS):
                await asyncio.sleep(random.uniform(0.01, 0.3))
                assert sealers[0].returncode is None, (await sealers[0].communicate())[1].decode()
                await _kill(sealers.pop(0))
                sealers.append(await _start(store.settings, tmp_path))
                meanwhile = await store.verify(patience=2)
                assert meanwhile.ok, meanwhile.findings
        finally:
            for each in sealers:
                await _kill(each)
            appending.cancel()
            await asyncio.wait([appending])
        await store.seal()

        report = await store.verify()
        assert report.ok, report.findings
        signed = [Seal.read(text) for text in await store.seals()]
        print(f"{KILLS} kills, {report.sealed} entries in {report.seals} seals")
        assert report.seals > KILLS
        assert report.sealed == sum(seal.last - seal.first + 1 for seal in signed)
        assert report.sealed == int(await store.redis.get(store.key("sequence")))


async def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.communicate()


async def _append(store: SealedStore) -> None:
    while True:
        await store.append(random.randint(1, 30))
        await asyncio.sleep(0.005)


async def _start(settings: Settings, folder: Path) -> asyncio.subprocess.Process:
    values = {
        PREFIX + name.upper(): value.get_secret_value() if hasattr(value, "get_secret_value") else str(value)
        for name, value in settings
        if value is not None
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _SEALER,
        cwd=folder,
        env={**os.environ, **values, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n", (await process.communicate())[1].decode()
    return process

"""One turn of the sealer, whether one is due before its time, and how far it is behind."""

from datetime import datetime

import msgspec
from loguru import logger

from app.audit import verdicts
from app.audit.breaks import record_break
from app.audit.entries import Fact
from app.audit.sealing.keys import Keyring
from app.audit.sealing.sealer import BATCH, Sealer
from app.audit.sealing.stream import ChainBrokenError, Stream
from app.scheduling.leases import claim, new_holder, release
from app.stores.connections import Stores

_OFFICE = "sealer"
# Saves double work, no more: of two sealers at once the core DB lets one make each seal.
_LEASE_SECONDS = 60.0
# A broken chain is not looked at again, nor told of, before the next minute.
_BROKEN_SECONDS = 50.0


async def take_turn(stores: Stores) -> int:
    """Seal what is new unless another worker is at it; answers how many entries.

    Where the chain is broken nothing is sealed: it is logged, at most once a minute, and recorded as a fact once a day.
    Raises what the stores' drivers raise.
    """
    keys = Keyring.of(stores.settings)
    if keys is None:
        logger.warning("sealing.skipped")
        return 0
    holder = new_holder()
    if not (await claim(stores.core, _OFFICE, holder, seconds=_LEASE_SECONDS)).held:
        return 0
    broken = False
    try:
        stream = Stream.of(stores.audit, stores.settings.namespace)
        sealed = await Sealer(stores.core, stream, keys).seal_new()
        await verdicts.say(stores.core, verdicts.SEALER)
    except ChainBrokenError as error:
        broken = True
        logger.bind(place=error.place, reason=str(error)).error("sealing.stopped")
        if not await record_break(stores, error, Fact.SEALING_STOPPED, by=verdicts.SEALER):
            logger.bind(place=error.place).error("sealing.unrecorded")
        return 0
    else:
        return sealed
    finally:
        if broken:
            await claim(stores.core, _OFFICE, holder, seconds=_BROKEN_SECONDS)
        else:
            await release(stores.core, _OFFICE, holder)


async def is_due(stores: Stores) -> bool:
    """Whether as many entries wait for a seal as one covers."""
    try:
        return await Stream.of(stores.audit, stores.settings.namespace).unsealed() >= BATCH
    except ValueError:  # its newest seal is none: the next turn tells
        return False


class _Happened(msgspec.Struct):
    at: datetime


async def unsealed_since(stores: Stores) -> datetime | None:
    """When the first of the entries happened that are not sealed yet; None where all are, or that cannot be told."""
    stream = Stream.of(stores.audit, stores.settings.namespace)
    try:
        first = await stream.after(await stream.last_sealed(), 1)
        return msgspec.json.decode(first[0], type=_Happened).at if first else None
    except (ValueError, ChainBrokenError, msgspec.MsgspecError):  # the sealer tells
        return None

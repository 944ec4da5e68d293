"""Wake-ups of actors that many ask for: one message is sent, and none who asked is forgotten."""

import math
from datetime import UTC, datetime
from typing import Any

import dramatiq

from actors.broker import broker


def wake_later(actor: dramatiq.Actor[[], Any], seconds: float) -> None:
    """Wake an actor in so many seconds. May raise what a broker that is away raises.

    However many ask for a moment, one message is sent, by the first of them.
    """
    instant = datetime.now(UTC).timestamp()
    # At the end of the quarter of a second, not in it: then it is not too early for anybody who asked for that quarter.
    quarter = math.ceil((instant + seconds) * 4)
    if broker.client.set(f"{broker.namespace}:wake:{actor.actor_name}:{quarter}", 1, nx=True, ex=120):
        actor.send_with_options(delay=math.ceil((quarter / 4 - instant) * 1000) + 1)

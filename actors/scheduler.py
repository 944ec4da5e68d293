"""The scheduler process, ``python -m actors.scheduler``: fires the schedules of every declared actor and of the table.

An actor is put on a schedule where it is declared::

    @dramatiq.actor(..., periodic=cron("*/5 * * * *"), catch_up="skip")

Run any number of these: one leads. Only the declarations are periodiq's; its own loop is not used. A message bears
the options `schedule` and `tick`, and its id is derived from the two, so a repeated delivery can be told.
"""

import asyncio
import json
import signal
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import asyncpg
import dramatiq
from dramatiq.errors import ActorNotFound
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from app.logs.shipping import shipping
from app.notifications.recurring.plans.registry import SHIPPED
from app.scheduling.loop import Pace, run
from app.scheduling.outlet import Order, OutletAwayError, UnknownActorError
from app.scheduling.schedules import Declaration
from config.correlation import correlated, new_correlation
from config.logging import log_start, log_stop
from config.settings import Settings, settings

MARK_SECONDS = 7 * 86_400  # a tick's mark in the broker outlives every attempt to send it again
STORE_SECONDS = 1.5  # of waiting for the broker, or for a connection; the lease runs four times as long
TICK_IDS = uuid.UUID("5d6c2a0e-2f5b-5c53-9f0e-6a1d5f6f7c11")  # namespace of message ids

# The mark and the message come into being together, or neither does; so a request may be repeated, also by another
# scheduler, also while a frozen broker still holds the first. The message is laid down as Dramatiq's own broker
# does it: data in a hash, id in a list (dramatiq/brokers/redis/dispatch.lua, "enqueue").
# KEYS: mark, queue, messages. ARGV: mark seconds, message id, message data; no id withdraws the tick.
TAKE = """
local mark = redis.call('GET', KEYS[1])
if not mark then
    local time = redis.call('TIME')
    mark = ARGV[2] == '' and 'withdrawn' or time[1] .. '.' .. string.format('%06d', time[2])
    redis.call('SET', KEYS[1], mark, 'EX', ARGV[1])
    if ARGV[2] ~= '' then
        redis.call('HSET', KEYS[3], ARGV[2], ARGV[3])
        redis.call('RPUSH', KEYS[2], ARGV[2])
    end
end
return mark
"""


def read_declarations(broker: dramatiq.Broker) -> list[Declaration]:
    """One declaration per actor that has a `periodic` option, named like it; raises CronError for a bad one."""
    return [
        Declaration(
            name=actor.actor_name,
            cron=str(actor.options["periodic"]),
            actor=actor.actor_name,
            catch_up=actor.options.get("catch_up", "fire_once"),
        )
        for actor in broker.actors.values()
        if "periodic" in actor.options
    ]


@dataclass(frozen=True)
class BrokerOutlet:
    """Sends ticks to the queues of Dramatiq's Redis broker, each at most once."""

    client: Redis
    broker: dramatiq.Broker
    namespace: str

    async def send(self, order: Order) -> datetime | None:
        """Enqueue the order unless it was before; see app.scheduling.outlet.Outlet."""
        try:
            actor = self.broker.get_actor(order.actor)
        except ActorNotFound as error:
            raise UnknownActorError(f"no actor {order.actor!r} is declared") from error
        message = _message(actor, order)
        with correlated(new_correlation(actor="scheduler")):
            self.broker.emit_before("enqueue", message, None)
        taken = await self._take(order, actor.queue_name, message.message_id, message.encode())
        self.broker.emit_after("enqueue", message, None)
        return taken

    async def withdraw(self, order: Order) -> datetime | None:
        """See that the order is never enqueued; see app.scheduling.outlet.Outlet."""
        return await self._take(order, "", "", b"")

    async def _take(self, order: Order, queue: str, message_id: str, data: bytes) -> datetime | None:
        mark = f"{self.namespace}:__ticks__:{order.schedule}:{order.tick.isoformat()}"
        keys = (mark, f"{self.namespace}:{queue}", f"{self.namespace}:{queue}.msgs")
        try:
            answer = await self.client.eval(TAKE, len(keys), *keys, MARK_SECONDS, message_id, data)
        except (RedisError, OSError, TimeoutError) as error:
            raise OutletAwayError("the broker does not answer") from error
        return None if answer == b"withdrawn" else datetime.fromtimestamp(float(answer), UTC)


def _message(actor: dramatiq.Actor[..., object], order: Order) -> dramatiq.Message[object]:
    message_id = str(uuid.uuid5(TICK_IDS, json.dumps([order.schedule, order.tick.isoformat()])))
    tick = order.tick.isoformat()
    message = actor.message_with_options(kwargs=order.args, schedule=order.schedule, tick=tick)
    return message.copy(message_id=message_id, options={"redis_message_id": message_id})


def open_client(url: str) -> Redis:
    """A client that gives up soon and never repeats a command by itself."""
    return Redis.from_url(
        url,
        socket_timeout=STORE_SECONDS,
        socket_connect_timeout=STORE_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )


async def serve(
    chosen: Settings,
    broker: dramatiq.Broker,
    pace: Pace | None = None,
    *,
    beside: Sequence[Declaration] = (),
) -> None:
    """Schedule the actors' own declarations, and those `beside` them, until SIGTERM or SIGINT comes.

    Stores may come up later than this process.
    """
    declarations = [*read_declarations(broker), *beside]
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    client = open_client(chosen.url("broker_url"))
    connect = partial(
        asyncpg.connect,
        chosen.url("core_database_url"),
        timeout=STORE_SECONDS,
        server_settings={"timezone": "UTC", "application_name": "astrobookings-core-scheduler"},
    )
    try:
        await run(connect, BrokerOutlet(client, broker, chosen.namespace), declarations, stop=stop, pace=pace)
    finally:
        await client.aclose()
    log_stop()


def main() -> None:
    """Start the process. Every actor is imported first: a schedule whose declaration is not seen is retired."""
    from actors.worker import broker

    settings().check_service()
    with shipping("scheduler", settings()):
        log_start()
        asyncio.run(serve(settings(), broker, beside=SHIPPED))


if __name__ == "__main__":
    main()

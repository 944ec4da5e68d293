"""The Dramatiq broker of every process: its Redis client, its middleware in full, and the stores of a worker."""

import time
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, TypeVar

import dramatiq
from dramatiq.asyncio import get_event_loop_thread
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import (
    AgeLimit,
    AsyncIO,
    Callbacks,
    CurrentMessage,
    Middleware,
    Pipelines,
    Retries,
    ShutdownNotifications,
    TimeLimit,
)
from loguru import logger
from periodiq import PeriodiqMiddleware
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from actors.correlation import CorrelatedMessages
from app.errors import StoreUnavailableError
from app.logs.shipping import Shipper, start_shipping
from app.reconciliation.mapping import load_mappings
from app.reconciliation.scanning.scan import sweep_folders
from app.stores.connections import Stores, open_stores
from config.logging import log_start, log_stop
from config.processes import die_with_parent
from config.settings import SettingsError, settings

# A worker that dies is noticed after this long without a heartbeat, and its messages are given to others.
HEARTBEAT_MILLISECONDS = 15_000
# Of a million commands on a queue so many also look for dead workers: with 250 ms polls, about one every second.
MAINTENANCE_CHANCE = 200_000
SEND_SECONDS = 2.0
BROKER_FAULTS = (RedisError, OSError, dramatiq.DramatiqError)
"""What sending a message raises where the broker is away."""
STORES_SECONDS = 1.0  # between two looks for stores that are away when a worker starts

Opened = TypeVar("Opened")


class WorkerStores(Middleware):
    """The stores of a worker process: opened before it takes a message, closed after its last one.

    It stands behind AsyncIO, whose event loop it uses; shutdown hooks run in reverse order.
    """

    def __init__(self) -> None:
        self._opened: Any = None
        self._stores: Stores | None = None
        self._shipper: Shipper | None = None
        self._kept = AsyncExitStack()

    @property
    def stores(self) -> Stores:
        """The open stores; only a worker has them."""
        assert self._stores is not None, "only a worker process opens stores"
        return self._stores

    def after_process_boot(self, broker: dramatiq.Broker) -> None:
        die_with_parent()
        try:
            settings().check_service()
        except SettingsError as error:
            # Dramatiq would only log it.
            raise SystemExit(str(error)) from None
        self._shipper = start_shipping("worker", settings())
        log_start()
        # A worker waits for Redis as long as it takes: a fetch that timed out and was repeated would leave its
        # messages behind, neither processed nor given to anybody else while this worker lives.
        assert isinstance(broker, RedisBroker)
        broker.client.connection_pool.connection_kwargs["socket_timeout"] = None

    def before_worker_boot(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        load_mappings(settings().mappings)
        sweep_folders(settings())
        loop = get_event_loop_thread()
        assert loop is not None
        # Dramatiq would only log what is raised here, and go on with a worker that fails every message.
        while self._stores is None:
            self._opened = open_stores(settings())
            try:
                self._stores = loop.run_coroutine(self._opened.__aenter__())
            except StoreUnavailableError as error:
                logger.bind(reason=str(error)).warning("stores.awaited")
                time.sleep(STORES_SECONDS)
        logger.bind(threads=worker.worker_threads).info("stores.opened")

    async def keep(self, opened: AbstractAsyncContextManager[Opened]) -> Opened:
        """Open something else that works on the stores, until the worker is told to end."""
        return await self._kept.enter_async_context(opened)

    def before_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        # Now, and not with the stores: what is under way ends while the worker waits for its messages.
        if (loop := get_event_loop_thread()) is not None:
            loop.run_coroutine(self._kept.aclose())

    def after_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        loop = get_event_loop_thread()
        if self._opened is not None and loop is not None:
            loop.run_coroutine(self._opened.__aexit__(None, None, None))
        log_stop()
        if self._shipper is not None:
            self._shipper.stop()


class ActorOptions(Middleware):
    """Options of ours: `catch_up` of a periodic actor; `schedule` and `tick` of the message that it is sent."""

    @property
    def actor_options(self) -> set[str]:
        return {"catch_up"}


worker_stores = WorkerStores()


def make_broker() -> RedisBroker:
    """The broker of a sender, which gives up after two seconds and never repeats a command.

    A send that was repeated could put a message in twice.
    """
    client = Redis.from_url(
        settings().url("broker_url"),
        socket_timeout=SEND_SECONDS,
        socket_connect_timeout=SEND_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )
    return RedisBroker(
        client=client,
        namespace=settings().namespace,
        heartbeat_timeout=HEARTBEAT_MILLISECONDS,
        maintenance_chance=MAINTENANCE_CHANCE,
        middleware=[
            CorrelatedMessages(),
            AgeLimit(),
            TimeLimit(),
            ShutdownNotifications(),
            Callbacks(),
            Pipelines(),
            Retries(max_retries=0),
            CurrentMessage(),
            PeriodiqMiddleware(),
            ActorOptions(),
            AsyncIO(),
            worker_stores,
        ],
    )


broker = make_broker()
dramatiq.set_broker(broker)

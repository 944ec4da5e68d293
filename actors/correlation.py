"""Messages carry the correlation of whoever sent them, and each leaves one entry in the log when it was processed."""

import threading
import time
from typing import Any

import dramatiq
from dramatiq.middleware import Middleware
from loguru import logger

from config.correlation import DONE, IDLE, bind, current, new_correlation, read_carried

OPTION = "correlation"  # of a message: what Correlation.carried answers


class CorrelatedMessages(Middleware):
    """Puts the correlation at hand into every message sent, and binds it again while the message is processed.

    It stands first, so that its last hook runs last: what Retries has decided is known then, and what Retries sends
    is correlated too.
    """

    def __init__(self) -> None:
        self._local = threading.local()

    def before_enqueue(
        self, broker: dramatiq.Broker, message: dramatiq.Message[Any], delay: int | None
    ) -> None:
        # A message that is sent again keeps what it was first sent with.
        if OPTION not in message.options:
            message.options[OPTION] = (current() or new_correlation()).carried()

    def before_process_message(self, broker: dramatiq.Broker, message: dramatiq.MessageProxy) -> None:
        correlation = read_carried(message.options.get(OPTION))
        correlation.message_id, correlation.task = message.message_id, message.actor_name
        bind(correlation)
        self._local.started = time.perf_counter()

    def after_process_message(
        self,
        broker: dramatiq.Broker,
        message: dramatiq.MessageProxy,
        *,
        result: Any = None,
        exception: BaseException | None = None,
    ) -> None:
        bound = logger.bind(queue=message.queue_name, duration_ms=self._milliseconds())
        if exception is None:
            _note_success(bound)
        else:
            _note_failure(bound.bind(attempt=message.options.get("retries", 1)), message, exception)
        bind(None)

    def after_skip_message(self, broker: dramatiq.Broker, message: dramatiq.MessageProxy) -> None:
        logger.bind(queue=message.queue_name, outcome="skipped").warning("message.skipped")
        bind(None)

    def _milliseconds(self) -> float:
        started: float = self._local.started
        return (time.perf_counter() - started) * 1000


def _note_success(bound: Any) -> None:
    correlation = current()
    outcome = (correlation and correlation.outcome) or DONE
    # Most wake-ups come to nothing, several times a second: they would drown the rest.
    bound.bind(outcome=outcome).log("DEBUG" if outcome == IDLE else "INFO", "message.processed")


def _note_failure(bound: Any, message: dramatiq.MessageProxy, exception: BaseException) -> None:
    failed = bound.opt(exception=exception)
    if message.failed:
        failed.bind(outcome="dead").error("message.died")
    else:
        failed.bind(outcome="retried").warning("message.failed")

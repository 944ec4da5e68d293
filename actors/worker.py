"""Every actor of the service, for the processes that must know them all: ``dramatiq actors.worker``."""

from actors import accounts, audit, logs, mailings, notifications, reconciliation
from actors.broker import broker

__all__ = ["accounts", "audit", "broker", "logs", "mailings", "notifications", "reconciliation"]

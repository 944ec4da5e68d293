"""The queues. Dramatiq orders only what a worker has already fetched: work that must not wait has its own queue."""

from enum import StrEnum


class Queue(StrEnum):
    RUNS = "runs"
    SCANS = "scans"
    REPAIRS = "repairs"
    SEALS = "seals"
    MAILS = "mails"

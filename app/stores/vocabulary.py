"""Enumerations that both databases share, spelled as they are stored."""

from enum import StrEnum


class Destination(StrEnum):
    LOW_EARTH_ORBIT = "LowEarthOrbit"
    ISS = "ISS"
    MOON = "Moon"
    MARS = "Mars"


class LaunchStatus(StrEnum):
    SCHEDULED = "Scheduled"
    DELAYED = "Delayed"
    COMPLETED = "Completed"
    ABORTED = "Aborted"


class BookingStatus(StrEnum):
    CONFIRMED = "Confirmed"
    CANCELLED = "Cancelled"
    COMPLETED = "Completed"


class InvoiceStatus(StrEnum):
    PENDING = "Pending"
    PAID = "Paid"
    REFUNDED = "Refunded"
    FAILED = "Failed"

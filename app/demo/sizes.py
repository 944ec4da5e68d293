"""How large a world may be."""

from dataclasses import dataclass

LEAST_CUSTOMERS = 100
LEAST_LAUNCHES = 40
LEAST_BOOKINGS = 500
MOST_RECORDS = 2_000_000  # of each entity; about 0.5 KB of memory each while they are made
MOST_BOOKINGS_PER_LAUNCH = 40  # more would not fit into the rockets


@dataclass(frozen=True)
class Sizes:
    """How much to make. Raises ValueError, saying what is needed, where that is too little or does not fit."""

    bookings: int
    customers: int
    launches: int

    @classmethod
    def of(cls, bookings: int = 10_000, customers: int | None = None, launches: int | None = None) -> "Sizes":
        """Customers and launches grow with the bookings unless they are given."""
        return cls(
            bookings,
            max(LEAST_CUSTOMERS, bookings // 5) if customers is None else customers,
            max(LEAST_LAUNCHES, bookings // 25) if launches is None else launches,
        )

    def __post_init__(self) -> None:
        for name, value, least in (
            ("bookings", self.bookings, LEAST_BOOKINGS),
            ("customers", self.customers, LEAST_CUSTOMERS),
            ("launches", self.launches, LEAST_LAUNCHES),
        ):
            if not least <= value <= MOST_RECORDS:
                raise ValueError(
                    f"{value} {name} cannot be made; drift of every kind needs at least {least}, "
                    f"and {MOST_RECORDS} is the most"
                )
        needed = -(-self.bookings // MOST_BOOKINGS_PER_LAUNCH)
        if self.launches < needed:
            raise ValueError(
                f"{self.bookings} bookings do not fit into {self.launches} launches; at least {needed} are needed"
            )

"""Pools of names, addresses and numbers of several countries, made once and then combined.

Faker makes some thousand values a second; a world needs hundreds of thousands.
"""

import random
import unicodedata
from dataclasses import dataclass

from faker import Faker

# Locale -> how the country is written in an address. The order is part of "same seed, same data".
# Not it_IT: its postal codes come out of a set, in another order in every process.
COUNTRIES = {
    "en_US": "United States",
    "es_ES": "España",
    "de_DE": "Deutschland",
    "fr_FR": "France",
    "ja_JP": "日本",
    "pl_PL": "Polska",
    "pt_BR": "Brasil",
    "nl_NL": "Nederland",
    "tr_TR": "Türkiye",
    "cs_CZ": "Česko",
}
POOL = 200  # values of each kind and locale: 40,000 full names a country
MAIL_DOMAINS = ("example.com", "example.org", "example.net")  # reserved: mail to them reaches nobody
SLUG_LENGTH = 20


@dataclass(frozen=True)
class Person:
    first_name: str
    last_name: str
    contact_number: str
    street: str
    city: str
    postal_code: str
    country: str


@dataclass(frozen=True)
class Locale:
    """The pools of one country; a city and its postal code stay together."""

    country: str
    first_names: list[str]
    last_names: list[str]
    numbers: list[str]
    streets: list[str]
    places: list[tuple[str, str]]
    companies: list[str]


class People:
    """Draws believable people; the same generator state gives the same people."""

    def __init__(self, seed: int) -> None:
        self._locales = [_locale(name, country, seed) for name, country in COUNTRIES.items()]

    def person(self, rng: random.Random) -> Person:
        locale = rng.choice(self._locales)
        city, postal_code = rng.choice(locale.places)
        return Person(
            first_name=rng.choice(locale.first_names),
            last_name=rng.choice(locale.last_names),
            contact_number=rng.choice(locale.numbers),
            street=rng.choice(locale.streets),
            city=city,
            postal_code=postal_code,
            country=locale.country,
        )

    def company(self, rng: random.Random) -> str:
        return rng.choice(rng.choice(self._locales).companies)


def email_of(first_name: str, last_name: str, number: int) -> str:
    """An address that no other `number` has, in ASCII, at a reserved domain."""
    name = ".".join(filter(None, (_slug(first_name), _slug(last_name)))) or "traveller"
    return f"{name}.{number}@{MAIL_DOMAINS[number % len(MAIL_DOMAINS)]}"


def _slug(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return "".join(letter for letter in plain.lower() if letter.isalnum())[:SLUG_LENGTH]


def _locale(name: str, country: str, seed: int) -> Locale:
    fake = Faker(name)
    fake.seed_instance(seed)
    return Locale(
        country=country,
        first_names=[fake.first_name() for _ in range(POOL)],
        last_names=[fake.last_name() for _ in range(POOL)],
        numbers=[fake.phone_number() for _ in range(POOL)],
        streets=[fake.street_address().strip() for _ in range(POOL)],
        places=[(fake.city(), fake.postcode()) for _ in range(POOL)],
        companies=[fake.company() for _ in range(POOL)],
    )

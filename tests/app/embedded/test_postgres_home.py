import os

import pytest

from app.embedded import postgres_home
from app.embedded.errors import EmbeddedError

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to change the user")


@pytest.fixture
def shared(folder, monkeypatch):
    path = folder / "shared"
    monkeypatch.setattr(postgres_home, "SYSTEM_FOLDER", path)
    return path


@pytest.fixture
def hidden(folder):
    path = folder / "hidden"
    path.mkdir(mode=0o700)
    return path


def test_reachable_directory_keeps_its_data_in_place(folder, shared):
    home = postgres_home.find_home(folder, is_new=True)
    assert home.data == folder / "postgresql" / "data"
    assert not home.moved
    assert (home.binaries / "initdb").exists()


@as_root
def test_data_below_a_closed_folder_moves_and_no_mode_changes(hidden, shared):
    home = postgres_home.find_home(hidden, is_new=True)
    assert home.moved
    assert home.data.parent.parent == shared
    assert (hidden / "postgresql").resolve() == home.data.parent
    assert home.data.parent.stat().st_uid == home.account.uid
    assert hidden.stat().st_mode & 0o777 == 0o700


@as_root
def test_moved_data_is_found_again_and_not_taken_over_by_a_new_directory(hidden, shared):
    first = postgres_home.find_home(hidden, is_new=True)
    (first.data.parent / "kept").touch()
    assert postgres_home.find_home(hidden, is_new=False) == first
    # When the data directory is deleted and made anew, it starts empty
    (hidden / "postgresql").unlink()
    again = postgres_home.find_home(hidden, is_new=True)
    assert again.data == first.data
    assert not (again.data.parent / "kept").exists()


@as_root
def test_data_that_became_unreachable_is_refused_instead_of_started_anew(hidden, shared):
    hidden.chmod(0o711)
    postgres_home.find_home(hidden, is_new=True)
    hidden.chmod(0o700)
    with pytest.raises(EmbeddedError, match="cannot be reached"):
        postgres_home.find_home(hidden, is_new=False)


@as_root
def test_programs_below_a_closed_folder_are_copied_once(hidden, shared, monkeypatch):
    package = hidden / postgres_home.BINARIES
    package.mkdir(parents=True)
    (package / "postgres").write_text("program")
    (package / "postgres").chmod(0o755)
    monkeypatch.setattr(postgres_home, "_site_packages", lambda: hidden)
    first = postgres_home.find_home(hidden, is_new=True)
    assert first.binaries.is_relative_to(shared)
    assert (first.binaries / "postgres").read_text() == "program"
    assert postgres_home.find_home(hidden, is_new=False) == first

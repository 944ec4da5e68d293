import os

import pytest
from dotenv import dotenv_values

from app.embedded.directory import DataDirectory, write_private
from app.embedded.errors import DirectoryInUseError, EmbeddedError


def test_second_opening_is_refused_and_names_the_holder(folder):
    # Given a data directory that this process holds
    held = DataDirectory.open(folder / "data")
    # When it is opened again, then the refusal names the holder
    with pytest.raises(DirectoryInUseError, match=f"process {os.getpid()}"):
        DataDirectory.open(folder / "data")
    held.close()


def test_directory_can_be_opened_again_after_it_was_closed(folder):
    DataDirectory.open(folder).close()
    DataDirectory.open(folder).close()


def test_env_file_is_private_and_reads_back_what_was_written(folder):
    values = {"ASTROCORE_A": "plain", "ASTROCORE_B": 'it\'s $HOME #1 \\ "quoted" ü', "ASTROCORE_C": ""}
    with DataDirectory.open(folder) as directory:
        directory.write_env(values)
        assert directory.read_env() == values
        assert dotenv_values(directory.env_file, interpolate=False) == values
        assert directory.env_file.stat().st_mode & 0o777 == 0o600


def test_directory_is_new_until_an_env_file_was_written(folder):
    with DataDirectory.open(folder) as directory:
        assert directory.is_new
        directory.write_env({})
    with DataDirectory.open(folder) as directory:
        assert not directory.is_new


def test_mode_of_an_existing_directory_is_kept(folder):
    folder.chmod(0o755)
    with DataDirectory.open(folder):
        assert folder.stat().st_mode & 0o777 == 0o755


def test_file_in_place_of_the_directory_is_an_explained_error(folder):
    (folder / "file").touch()
    with pytest.raises(EmbeddedError, match="cannot be used"):
        DataDirectory.open(folder / "file")


def test_private_file_is_replaced_even_after_an_interrupted_write(folder):
    (folder / "env.new").write_text("half")
    write_private(folder / "env", "whole")
    assert (folder / "env").read_text() == "whole"
    assert not (folder / "env.new").exists()


def test_long_log_is_put_aside(folder, monkeypatch):
    monkeypatch.setattr("app.embedded.directory.LOG_ROTATION_BYTES", 3)
    with DataDirectory.open(folder) as directory:
        directory.log_file("web").write_text("long")
        assert not directory.log_file("web").exists()
    assert (folder / "logs" / "web.log.1").read_text() == "long"

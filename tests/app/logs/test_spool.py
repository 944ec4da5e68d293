"""The spool: what is appended is read in order, by whoever holds the folder."""

import errno
import os
from pathlib import Path
from threading import Event, Lock, Thread

import pytest

from app.logs import spool as module
from app.logs.spool import Folder, Reader, Spool, adopt_folders, create_folder

PLENTY = 100_000_000


def line(number: int, size: int = 20) -> bytes:
    return f"{number:0{size}}\n".encode()


def read_all(reader: Reader) -> list[int]:
    found: list[int] = []
    while block := reader.read():
        assert block.endswith(b"\n")
        found += map(int, block.splitlines())
    return found


def own(spool: Spool) -> Folder:
    assert spool.folder is not None
    return spool.folder


def test_lines_are_read_in_order_across_segments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEGMENT_BYTES", 1000)
    monkeypatch.setattr(module, "BLOCK_BYTES", 130)
    spool = Spool(tmp_path, limit_bytes=PLENTY)
    spool.append("p", line(1))
    reader, found = Reader(own(spool), live=True), []
    for number in range(2, 500):
        spool.append("p", line(number))
        if number % 17 == 0:
            found += read_all(reader)
    found += read_all(reader)
    assert found == list(range(1, 500))
    assert len(own(spool).segments()) > 10
    assert reader.finished() == own(spool).segments()[:-1]


def test_a_line_that_is_torn_is_passed_over_and_what_follows_it_is_not(tmp_path: Path) -> None:
    spool = Spool(tmp_path, limit_bytes=PLENTY)
    spool.append("p", line(1))
    spool.append("p", b'{"half')
    reader = Reader(own(spool), live=True)
    assert read_all(reader) == [1]
    spool.close()
    spool.append("p", line(2))
    assert read_all(reader) == [2]


def test_a_reader_that_begins_again_reads_what_was_not_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SEGMENT_BYTES", 100)
    spool = Spool(tmp_path, limit_bytes=PLENTY)
    for number in range(1, 11):
        spool.append("p", line(number))
    reader = Reader(own(spool), live=True)
    assert read_all(reader) == list(range(1, 11))
    reader.remove(reader.finished())
    reader.rewind()
    assert reader.finished() == []
    assert read_all(reader) == [9, 10]


def test_a_segment_that_is_still_written_is_never_finished(tmp_path: Path) -> None:
    spool = Spool(tmp_path, limit_bytes=PLENTY)
    spool.append("p", line(1))
    live, dead = Reader(own(spool), live=True), Reader(own(spool), live=False)
    assert dead.finished() == []
    assert read_all(live) == read_all(dead) == [1]
    assert live.finished() == []
    assert dead.finished() == [1]


def test_a_segment_that_was_begun_after_the_end_was_reached_is_not_finished(tmp_path: Path) -> None:
    spool = Spool(tmp_path, limit_bytes=PLENTY)
    spool.append("p", line(1))
    spool.close()
    reader = Reader(own(spool), live=False)
    assert read_all(reader) == [1]
    spool.append("p", line(2))
    assert reader.finished() == [1]


def test_only_the_folders_of_the_dead_are_adopted_and_only_once(tmp_path: Path) -> None:
    living, dead = Spool(tmp_path, limit_bytes=PLENTY), create_folder(tmp_path, "dead")
    living.append("living", line(1))
    dead.release(remove=False)
    adopted = list(adopt_folders(tmp_path))
    assert [each.path.name for each in adopted] == ["dead"]
    assert list(adopt_folders(tmp_path)) == []
    adopted[0].release(remove=True)
    assert [each.name for each in tmp_path.iterdir()] == ["living"]


def test_beyond_its_bound_the_spool_drops_and_counts_and_takes_more_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SEGMENT_BYTES", 1000)
    monkeypatch.setattr(module, "_SECONDS_BETWEEN_LOOKS_FOR_ROOM", 0.0)
    monkeypatch.setattr(module, "HELD_BYTES", 0)
    other = create_folder(tmp_path, "other")
    other.segment(1).write_bytes(b"x" * 3000)
    spool = Spool(tmp_path, limit_bytes=5000)
    for number in range(1, 1001):
        spool.append("p", line(number))
    reader = Reader(own(spool), live=True)
    kept = read_all(reader)
    assert kept == list(range(1, len(kept) + 1))
    assert spool.dropped == 1000 - len(kept)
    assert 2000 <= sum(len(line(number)) for number in kept) <= 3000
    other.segment(1).unlink()
    spool.append("p", line(1001))
    assert read_all(reader) == [1001]


def test_a_disk_that_refuses_is_no_fault_of_who_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path, limit_bytes=PLENTY)
    spool.append("p", line(1))

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        spool.append("p", line(2))
        spool.append("p", line(3))
    assert spool.held() == [line(2), line(3)]
    monkeypatch.setattr(spool, "_look_again", 0.0)
    spool.append("p", line(4))
    assert (spool.held(), spool.dropped) == ([], 0)
    assert read_all(Reader(own(spool), live=True)) == [1, 2, 3, 4]


def full(descriptor: int, data: bytes) -> int:
    raise OSError(errno.ENOSPC, "no space left")


def test_a_full_disk_gets_no_segment_after_the_other_and_nothing_torn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SECONDS_BETWEEN_LOOKS_FOR_ROOM", 0.0)
    spool, write = Spool(tmp_path, limit_bytes=PLENTY), os.write

    def fill_up(descriptor: int, data: bytes) -> int:
        return write(descriptor, data[:7])

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", fill_up)
        for number in range(1, 6):
            spool.append("p", line(number))
        assert own(spool).segments() == [1]
        assert own(spool).segment(1).read_bytes() == b""
    spool.append("p", line(6))
    assert own(spool).segments() == [1]
    assert read_all(Reader(own(spool), live=True)) == [1, 2, 3, 4, 5, 6]


def test_what_waits_in_memory_is_bounded_and_what_is_beyond_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HELD_BYTES", 10 * len(line(1)))
    (tmp_path / "spool").write_text("a file")
    spool = Spool(tmp_path / "spool", limit_bytes=PLENTY)
    for number in range(1, 14):
        spool.append("p", line(number))
    assert spool.held() == [line(number) for number in range(1, 11)]
    assert spool.dropped == 3
    spool.release(spool.held())
    assert (spool.held(), spool.is_empty()) == ([], True)
    spool.append("p", line(14))
    spool.abandon()
    assert (spool.held(), spool.dropped) == ([], 4)


def test_what_was_held_and_is_on_the_disk_now_is_not_released_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path, limit_bytes=PLENTY)
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        spool.append("p", line(1))
        taken = spool.held()
        monkeypatch.setattr(spool, "_look_again", 0.0)
    spool.append("p", line(2))
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        spool.append("p", line(3))
    spool.release(taken)
    assert spool.held() == [line(3)]


def test_an_empty_folder_goes_and_comes_again_with_the_next_line(tmp_path: Path) -> None:
    spool = Spool(tmp_path, limit_bytes=PLENTY)
    spool.append("p", line(1))
    spool.close()
    reader = Reader(own(spool), live=False)
    read_all(reader)
    spool.forget()
    assert own(spool).segments() == [1], "what is left in it stays"
    reader.remove(reader.finished())
    spool.forget()
    assert list(tmp_path.iterdir()) == []
    spool.append("p", line(2))
    assert read_all(Reader(own(spool), live=True)) == [2]


def test_a_disk_that_refuses_at_the_end_of_a_segment_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path, limit_bytes=PLENTY)
    spool.append("p", line(1))
    close = os.close

    def refuse(descriptor: int) -> None:
        close(descriptor)
        raise OSError(errno.EDQUOT, "quota")

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "close", refuse)
        spool.close()
    spool.append("p", line(2))
    assert read_all(Reader(own(spool), live=True)) == [1, 2]


def test_a_folder_that_could_not_be_made_is_made_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_self: Path, _target: Path) -> None:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refuse)
        with pytest.raises(OSError, match="full"):
            create_folder(tmp_path, "p")
    create_folder(tmp_path, "p").release(remove=True)


def test_what_is_no_segment_is_left_alone(tmp_path: Path) -> None:
    folder = create_folder(tmp_path, "p")
    (folder.path / "notes.ndjson").write_text("mine")
    assert folder.segments() == []
    folder.release(remove=False)


def test_a_finalizer_that_logs_while_its_thread_holds_the_spool_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool, logging = Spool(tmp_path, limit_bytes=PLENTY), Lock()
    held, begun, segments = Event(), Event(), Folder.segments

    def log(number: int) -> None:
        with logging:  # as loguru has it, around every entry
            begun.set()
            spool.append("p", line(number))

    def log_and_look(folder: Folder) -> list[int]:
        monkeypatch.undo()
        held.set()
        begun.wait(10)
        log(3)  # which waits for 2, which waits for the spool
        return segments(folder)

    log(1)
    begun.clear()
    reader = Reader(own(spool), live=True)
    monkeypatch.setattr(Folder, "segments", log_and_look)
    threads = [Thread(target=spool.forget, daemon=True), Thread(target=log, args=[2], daemon=True)]
    threads[0].start()
    held.wait(10)
    threads[1].start()
    for thread in threads:
        thread.join(10)
    assert [thread.is_alive() for thread in threads] == [False, False]
    assert spool.held() == []
    assert read_all(reader) == [1, 2, 3]

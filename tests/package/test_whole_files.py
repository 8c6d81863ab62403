"""Files that are written whole or not at all, by many at once, some of whom are killed."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from enarx_files.whole import write_atomically

KILLED = """
import os, signal, sys
from pathlib import Path
from enarx_files import whole
whole.os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
whole.write_atomically(Path(sys.argv[1]), b"half")
"""


def kill_a_writer(path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert ended.returncode == -signal.SIGKILL


def names(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir())


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", b"old")
    kill_a_writer(tmp_path / "a")
    assert len(names(tmp_path)) == 2
    assert (tmp_path / "a").read_bytes() == b"old"
    write_atomically(tmp_path / "a", b"new", mode=0o640)
    assert (names(tmp_path), (tmp_path / "a").read_bytes()) == (["a"], b"new")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_what_writers_at_once_left_when_all_were_killed_is_removed(tmp_path: Path) -> None:
    kill_a_writer(tmp_path / "a")
    (left,) = tmp_path.iterdir()
    with left.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # as if it were alive
        kill_a_writer(tmp_path / "a")
        assert len(names(tmp_path)) == 2
        write_atomically(tmp_path / "a", b"while it lives")
        assert left.read_bytes() == b"half"
    write_atomically(tmp_path / "a", b"after")
    assert names(tmp_path) == ["a"]


def test_many_at_once_each_write_it_whole(tmp_path: Path) -> None:
    path = tmp_path / "a"
    contents = [bytes([number]) * 50_000 for number in range(8)]

    def write(content: bytes) -> None:
        for _ in range(20):
            write_atomically(path, content)
            assert path.read_bytes() in contents

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (names(tmp_path), path.read_bytes() in contents) == (["a"], True)


def test_what_others_put_in_its_way_is_neither_followed_nor_filled(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"untouched")
    (tmp_path / ".a.0").symlink_to(tmp_path / "elsewhere")
    (tmp_path / ".a.1").mkdir()
    os.mkfifo(tmp_path / ".a.2")
    write_atomically(tmp_path / "a", b"secret")
    assert (tmp_path / "a").read_bytes() == b"secret"
    assert not (tmp_path / "a").is_symlink()
    assert (tmp_path / "elsewhere").read_bytes() == b"untouched"


def test_a_write_that_fails_leaves_nothing_and_says_why(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "missing/a", b"")
    (tmp_path / "a").mkdir()
    with pytest.raises(IsADirectoryError):
        write_atomically(tmp_path / "a", b"")
    assert names(tmp_path) == ["a"]


def test_where_nothing_can_be_locked_files_are_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_a_writer(tmp_path / "a")

    def flock(*_: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    write_atomically(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert names(tmp_path) == [".a.0", "a"], "what a killed one left cannot be told from what is being written"

"""Logs that are put aside when they are large, and that survive a full disk."""

from __future__ import annotations

import errno
import os

import pytest

from enarx_deploy.host import log_files
from enarx_deploy.host.log_files import LogFile, Reader, parts


def written(path) -> bytes:
    return b"".join(one.read_bytes() for one in parts(path) if one.exists())


def test_what_is_written_is_all_there_and_no_file_is_larger_than_it_may_be(tmp_path):
    log = LogFile(tmp_path / "out.log", size=1000, count=100)
    lines = [f"line {number}\n".encode() for number in range(500)]
    for line in lines[:100]:
        os.write(log.descriptor, line)
    os.write(log.descriptor, b"".join(lines[100:]))
    log.close()
    assert written(tmp_path / "out.log") == b"".join(lines)
    files = [one.read_bytes() for one in parts(tmp_path / "out.log")]
    assert len(files) > 1
    assert max(map(len, files)) <= 1000
    assert all(file.endswith(b"\n") for file in files)
    assert {one.stat().st_mode & 0o777 for one in tmp_path.iterdir()} == {0o600}


def test_a_line_that_is_longer_than_a_file_may_be_goes_on_in_the_next(tmp_path):
    log = LogFile(tmp_path / "out.log", size=10, count=100)
    os.write(log.descriptor, b"0123456789abcdefghijklm\nlast\n")
    log.close()
    assert [one.read_bytes() for one in parts(tmp_path / "out.log")] == [b"0123456789", b"abcdefghij", b"klm\nlast\n"]


def test_the_oldest_are_removed(tmp_path):
    path = tmp_path / "out.log"
    for number in range(6):
        path.write_text(str(number))
        log_files.put_aside(path, count=3)
    assert [one.read_text() for one in parts(path) if one.exists()] == ["4", "5"]
    path.write_text("6")
    log_files.put_aside(path, count=1)
    assert not path.exists()


def test_a_log_goes_on_where_it_was(tmp_path):
    path = tmp_path / "out.log"
    for word in (b"one\n", b"two\n"):
        log = LogFile(path)
        os.write(log.descriptor, word)
        log.close()
    assert path.read_bytes() == b"one\ntwo\n"


def test_a_full_disk_costs_lines_that_are_counted_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "out.log"
    full = [True]

    def write(descriptor: int, data: bytes) -> int:
        if full[0]:
            if len(data) > 3:
                return real(descriptor, data[:3])
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data)

    real = os.write
    log = LogFile(path)
    with monkeypatch.context() as patch:
        patch.setattr(log_files.os, "write", write)
        log._take(b"12345")
        log._take(b"678")
        assert path.read_bytes() == b""
        full[0] = False
        log._take(b"again\n")
    log.close()
    assert path.read_bytes() == b"[8 bytes of this log are lost: they could not be written]\nagain\n"


@pytest.mark.parametrize("put_aside_before", [True, False])
def test_a_reader_follows_a_log_into_the_next_file(tmp_path, put_aside_before):
    path = tmp_path / "out.log"
    path.write_bytes(b"old\n")
    if put_aside_before:
        log_files.put_aside(path)
        path.write_bytes(b"first\n")
    with Reader(path) as reader:
        begun = b"".join(reader.pieces())
        assert begun == (b"old\nfirst\n" if put_aside_before else b"old\n")
        assert b"".join(reader.pieces()) == b""
        with path.open("ab") as file:
            file.write(b"last\n")
        log_files.put_aside(path)
        path.write_bytes(b"next\n")
        assert b"".join(reader.pieces()) == b"last\nnext\n"


def test_a_log_that_is_not_there_yet_is_read_when_it_is(tmp_path):
    path = tmp_path / "out.log"
    with Reader(path) as reader:
        assert list(reader.pieces()) == []
        path.write_bytes(b"here\n")
        assert b"".join(reader.pieces()) == b"here\n"

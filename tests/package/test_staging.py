"""What makers leave behind when they are killed, and who sweeps it."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from enarx_deploy import staging

MAKER = """
import sys, time
from pathlib import Path
from enarx_deploy import staging
with staging.directory(Path(sys.argv[1])) as made:
    (made / "part").write_bytes(b"half")
    print("made", flush=True)
    time.sleep(600)
"""


@contextlib.contextmanager
def maker(parent: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is making something, and is killed in the end."""
    with subprocess.Popen([sys.executable, "-c", MAKER, str(parent)], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == b"made\n"
            yield process
        finally:
            process.kill()


def directories(parent: Path) -> list[Path]:
    return [path for path in parent.iterdir() if path.is_dir()]


def test_what_a_killed_maker_left_is_swept_by_the_next_and_what_a_living_one_makes_is_not(tmp_path: Path) -> None:
    with maker(tmp_path) as dead, maker(tmp_path):
        os.kill(dead.pid, signal.SIGKILL)
        dead.wait()
        assert len(directories(tmp_path)) == 2
        with staging.directory(tmp_path) as own:
            assert len(directories(tmp_path)) == 2
            assert not list(own.iterdir())
        (left,) = directories(tmp_path)
        assert (left / "part").read_bytes() == b"half"
    with staging.directory(tmp_path) as own:
        assert directories(tmp_path) == [own]


@pytest.mark.parametrize(("age", "swept"), [(0, False), (staging.ABANDONED_AFTER + 60, True)])
def test_what_another_machine_makes_is_swept_only_when_it_is_old(tmp_path: Path, age: int, swept: bool) -> None:
    """Its locks are not seen here, on NFS."""
    others = tmp_path / ".new-0123456789abcdef-fedcba9876543210"
    others.mkdir()
    made = others.stat().st_mtime - age
    os.utime(others, (made, made))
    with staging.directory(tmp_path):
        assert others.exists() is not swept


def test_what_only_looks_like_a_makers_is_not_swept(tmp_path: Path) -> None:
    for name in (".new-year", ".new-0123456789abcdef"):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (0, 0))
    with staging.directory(tmp_path):
        assert len(directories(tmp_path)) == 3


def test_a_directory_that_was_moved_out_stays(tmp_path: Path) -> None:
    with staging.directory(tmp_path / "store") as made:
        (made / "file").touch()
        made.rename(tmp_path / "store/place")
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["place"]
    assert (tmp_path / "store/place/file").exists()


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "store").mkdir()
    with staging.directory(tmp_path / "store") as made:
        link = made.with_name(f"{made.name[:-16]}{'0' * 16}")
    link.symlink_to(tmp_path / "precious")
    with staging.directory(tmp_path / "store"):
        assert link.is_symlink()
    assert (tmp_path / "precious").exists()

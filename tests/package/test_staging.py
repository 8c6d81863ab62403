"""What makers leave behind when they are killed, and who sweeps it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

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


def maker(parent: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", MAKER, str(parent)], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"made\n"
    return process


def test_what_a_killed_maker_left_is_swept_by_the_next_and_what_a_living_one_makes_is_not(tmp_path: Path) -> None:
    with maker(tmp_path) as dead, maker(tmp_path) as living:
        os.kill(dead.pid, signal.SIGKILL)
        dead.wait()
        assert len(list(tmp_path.iterdir())) == 2
        with staging.directory(tmp_path) as own:
            assert len(list(tmp_path.iterdir())) == 2
            assert not list(own.iterdir())
        (left,) = tmp_path.iterdir()
        assert (left / "part").read_bytes() == b"half"
        living.kill()


def test_a_directory_that_was_moved_out_stays(tmp_path: Path) -> None:
    with staging.directory(tmp_path / "store") as made:
        (made / "file").touch()
        made.rename(tmp_path / "store/place")
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["place"]
    assert (tmp_path / "store/place/file").exists()


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "store").mkdir()
    (tmp_path / "store/.new-1").symlink_to(tmp_path / "precious")
    staging.sweep(tmp_path / "store")
    assert (tmp_path / "precious").exists()

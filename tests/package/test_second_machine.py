"""The same project packaged on two machines has one digest, and the same is said of it.

The second is as much of another machine as can be had on this one: a root of its own in memory, another host name,
user, umask, locale, time zone, clock of the sources, order of files and place.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import enarx_deploy

REPOSITORY = Path(enarx_deploy.__file__).parents[2]
WAT = '(module (memory (export "memory") 1) (func (export "_start")))'
MANIFEST = '[[package.assets]]\nsource = "data"\nguest = "/data"\n'
SECOND_MACHINE = """
set -eu
root=$1 project=$2 python=$3; shift 3
mount -t tmpfs -o mode=755 second "$root"
for place in "$@" /dev; do mkdir -p "$root$place"; mount --rbind "$place" "$root$place"; done
for link in /bin /sbin /lib /lib64; do [ ! -L $link ] || cp -a $link "$root$link"; done
mkdir -p "$root/proc" "$root/tmp" "$root/elsewhere/a/place"
mount -t proc proc "$root/proc"
chmod 1777 "$root/tmp"
hostname second
(cd "$project" && find . -type f | sort -r | tar -cf - -T -) | tar -xmf - --no-same-owner -C "$root/elsewhere/a/place"
find "$root/elsewhere" -type f -exec touch -d 1990-01-01 {} +
chown -R 12345:12345 "$root/elsewhere"
umask 077
chroot --userspec=12345:12345 "$root" /usr/bin/env -i HOME=/elsewhere PATH=/usr/bin:/bin TZ=Asia/Tokyo LC_ALL=C.UTF-8 \
    LANG=C.UTF-8 PYTHONHASHSEED=2 "$python" -m enarx_deploy package --json -C /elsewhere/a/place
ls "$root/elsewhere/a/place/.enarx/packages/"*.attachments
"""


def packaged(words: list[object], **options: object) -> tuple[str, set[str]]:
    """The digest that was printed, and the names of what is kept beside the package, each the digest of its content."""
    ended = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False, **options)
    assert ended.returncode == 0, ended.stderr
    record, _, names = ended.stdout.rpartition("}\n")
    return json.loads(record + "}")["digest"], set(names.split())


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="root alone makes a second machine")
def test_two_machines_make_one_package(tmp_path: Path) -> None:
    project, root = tmp_path / "project", tmp_path / "root"
    for path, text in {"main.wat": WAT, "Enarx.toml": MANIFEST, "data/b": "b", "data/a": "a", "data/c/d": "d"}.items():
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (project / path).write_text(text)
    root.mkdir()
    places = {"/usr", "/etc", str(REPOSITORY), sys.prefix, sys.base_prefix}
    outermost = [
        place for place in sorted(places) if not any(f"{place}/".startswith(f"{o}/") for o in places - {place})
    ]
    second = ["unshare", "--mount", "--uts", "--pid", "--fork", "sh", "-c", SECOND_MACHINE, "sh"]
    may = subprocess.run([*second[:5], "mount", "-t", "tmpfs", "second", root], capture_output=True, check=False)
    if may.returncode:
        pytest.skip(f"no second machine can be made here: {may.stderr.decode()}")
    environment = {"HOME": str(tmp_path / "home"), "PATH": os.environ["PATH"], "TZ": "UTC", "LC_ALL": "C"}
    here = [sys.executable, "-m", "enarx_deploy", "package", "--json", "-C", project]
    listed = f'"$@" && ls {project}/.enarx/packages/*.attachments'
    first = packaged(["sh", "-c", listed, "sh", *here], env=environment, umask=0o022)
    assert first == packaged([*second, root, project, sys.executable, *outermost])
    assert len(first[1]) == 2, "an SBOM and provenance"

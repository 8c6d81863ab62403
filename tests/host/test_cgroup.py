"""Limits by control groups: what is written where, on trees of files and, where it is allowed, on this machine's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from enarx_deploy.host.cgroup import Groups, Limits

LIMITS = Limits(memory=64 << 20, cpu=1.5)


@pytest.fixture
def machine(tmp_path: Path):
    """A machine of files: makes the groups that a process is in, and `Groups` that believes in them."""

    def make(memberships: str, files: dict[str, str]) -> Groups:
        process = tmp_path / "process"
        process.mkdir()
        (process / "cgroup").write_text(memberships)
        for name, content in files.items():
            path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return Groups(root=tmp_path / "cgroup", process=process)

    return make


def content(groups: Groups, path: str) -> str:
    return (groups.root / path).read_text()


def test_version_2_has_one_group_with_all_limits(machine):
    files = {"cgroup.controllers": "cpu memory", "mine/cgroup.controllers": "cpu memory"}
    groups = machine("0::/mine\n", files | {"mine/cgroup.subtree_control": ""})
    assert groups.confine("abc", LIMITS) == ""
    assert content(groups, "mine/cgroup.subtree_control") == "+cpu +memory"
    assert content(groups, "mine/enarx-deploy-abc/memory.max") == str(64 << 20)
    assert content(groups, "mine/enarx-deploy-abc/cpu.max") == "150000 100000"
    assert content(groups, "mine/enarx-deploy-abc/cgroup.procs") == str(os.getpid())


def test_only_what_is_asked_for_is_limited(machine):
    files = {"cgroup.controllers": "memory", "cgroup.subtree_control": "memory"}
    groups = machine("0::/\n", files)
    assert groups.confine("abc", Limits(memory=1 << 20)) == ""
    assert {path.name for path in (groups.root / "enarx-deploy-abc").iterdir()} == {"memory.max", "cgroup.procs"}
    assert groups.confine("def", Limits()) == ""
    assert not (groups.root / "enarx-deploy-def").exists()


def test_version_1_has_a_group_for_each_controller(machine):
    groups = machine("4:memory:/a\n3:cpu,cpuacct:/\n0::/\n", {"memory/a/tasks": "", "cpu/tasks": ""})
    assert groups.confine("abc", LIMITS) == ""
    assert content(groups, "memory/a/enarx-deploy-abc/memory.limit_in_bytes") == str(64 << 20)
    assert content(groups, "cpu/enarx-deploy-abc/cpu.cfs_quota_us") == "150000"
    assert content(groups, "cpu/enarx-deploy-abc/cgroup.procs") == str(os.getpid())


def test_a_service_process_in_a_delegated_tree_makes_room_and_keeps_stand_beside_it(machine):
    files = {"cgroup.controllers": "cpu memory", "unit/cgroup.controllers": "cpu memory"}
    groups = machine("0::/unit\n", files | {"unit/cgroup.subtree_control": ""})
    groups.make_room()
    assert content(groups, "unit/enarx-deploy-service/cgroup.procs") == str(os.getpid())
    (groups.process / "cgroup").write_text("0::/unit/enarx-deploy-service\n")
    assert groups.confine("abc", LIMITS) == ""
    assert (groups.root / "unit/enarx-deploy-abc/memory.max").exists()


@pytest.mark.parametrize(
    ("memberships", "files"),
    [
        ("0::/mine\n", {"cgroup.controllers": "cpu", "mine/cgroup.controllers": "cpu"}),
        ("4:memory:/\n", {"memory/tasks": ""}),
        ("", {}),
    ],
    ids=["no-memory-controller", "no-cpu-controller", "no-control-groups"],
)
def test_where_it_cannot_be_it_is_said(machine, memberships, files):
    groups = machine(memberships, files)
    assert "are not held" in groups.confine("abc", LIMITS)


def test_a_kernel_that_refuses_is_quoted(machine):
    groups = machine("0::/\n", {"cgroup.controllers": "cpu memory"})
    (groups.root / "cgroup.subtree_control").mkdir()
    assert "Is a directory" in groups.confine("abc", LIMITS)


def allowed() -> bool:
    groups = Groups()
    try:
        return groups.confine("test", Limits()) == "" and any(os.access(place, os.W_OK) for place in groups._parents())
    except OSError:
        return False


@pytest.mark.skipif(not allowed(), reason="this machine lets this user make no control groups")
def test_the_kernel_holds_a_process_to_its_memory():
    """It takes more than it may, and is killed or refused."""
    keep = f"test-{os.getpid()}"
    code = f"""
from enarx_deploy.host.cgroup import Groups, Limits
said = Groups().confine({keep!r}, Limits(memory=64 << 20))
print(said or "confined", flush=True)
if not said:
    taken = bytearray(256 << 20)
    taken[::4096] = bytes(len(taken[::4096]))
    print("taken", flush=True)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    Groups().remove(keep)
    if "not held" in done.stdout:
        pytest.skip(done.stdout.strip())
    assert done.stdout == "confined\n"
    assert done.returncode != 0
    assert not any((place / f"enarx-deploy-{keep}").exists() for place in Groups()._parents())

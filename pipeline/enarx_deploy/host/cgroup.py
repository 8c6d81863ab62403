"""Limits that the kernel holds a Keep and its host process to: control groups, version 2 or 1, as the machine has them.

    version 2    GROUP/memory.max, GROUP/cpu.max
    version 1    memory/GROUP/memory.limit_in_bytes, cpu/GROUP/cpu.cfs_quota_us

GROUP is `enarx-deploy-ID`, made beside the group of the deployment's service process. Where that is not allowed the
Keep runs without them, and that is said: by `keeps`, and in its host process's log. A unit that `enarx-deploy service
install` wrote is allowed (`Delegate=`), and so is root.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
_PERIOD = 100_000  # microseconds in which a Keep may take its share of processor time; the kernel's own default
_OWN = "enarx-deploy-service"  # the group of a service process in a unit whose tree is delegated to it


@dataclass(frozen=True)
class Limits:
    """Bytes of memory, and processors (1.5 is one and a half); 0 is no limit."""

    memory: int = 0
    cpu: float = 0

    def __bool__(self) -> bool:
        return bool(self.memory or self.cpu)


@dataclass(frozen=True)
class Groups:
    """Where control groups are, and in which of them a process is; for tests they are elsewhere."""

    root: Path = ROOT
    process: Path = Path("/proc/self")

    def confine(self, keep: str, limits: Limits) -> str:
        """Put this process, and all that it starts from now on, under these limits. Answers why that is not so."""
        if not limits:
            return ""
        try:
            for group, values in self._wanted(keep, limits):
                group.mkdir(exist_ok=True)
                for name, value in values.items():
                    (group / name).write_text(value)
                (group / "cgroup.procs").write_text(str(os.getpid()))
        except OSError as error:
            self.remove(keep)
            return f"limits of memory and processor time are not held: {error.filename or ''} {error.strerror}"
        return ""

    def remove(self, keep: str) -> None:
        """Remove the groups of a Keep that has ended."""
        for parent in self._parents():
            with contextlib.suppress(OSError):
                (parent / _name(keep)).rmdir()

    def make_room(self) -> None:
        """Move this process one group down, where its tree is delegated to it: groups that hold processes (version 2)
        can have no limits below them. Does nothing where that is not allowed."""
        group = self._unified()
        if group is None or group == self.root or group.name == _OWN:
            return
        with contextlib.suppress(OSError):
            (group / _OWN).mkdir(exist_ok=True)
            (group / _OWN / "cgroup.procs").write_text(str(os.getpid()))

    def _wanted(self, keep: str, limits: Limits) -> Iterator[tuple[Path, Mapping[str, str]]]:
        """The groups of a Keep, with what is written in each. Raises OSError where there can be none."""
        controllers = {"memory": limits.memory, "cpu": limits.cpu}
        wanted = [name for name, limit in controllers.items() if limit]
        unified = self._unified_with(wanted)
        if unified is not None:
            values = {"memory.max": str(limits.memory)} if limits.memory else {}
            if limits.cpu:
                values["cpu.max"] = f"{round(limits.cpu * _PERIOD)} {_PERIOD}"
            yield unified / _name(keep), values
            return
        for name in wanted:
            legacy = self._legacy(name)
            if legacy is None:
                raise FileNotFoundError(2, f"has no controller {name!r} that this process may use", str(self.root))
            if name == "memory":
                yield legacy / _name(keep), {"memory.limit_in_bytes": str(limits.memory)}
            else:
                quota = {"cpu.cfs_period_us": str(_PERIOD), "cpu.cfs_quota_us": str(round(limits.cpu * _PERIOD))}
                yield legacy / _name(keep), quota

    def _unified_with(self, controllers: list[str]) -> Path | None:
        """The group of version 2 below which Keeps have theirs, if it has these controllers."""
        own = self._unified()
        if own is None:
            return None
        parent = own.parent if own.name == _OWN else own
        try:
            if not set(controllers) <= set((parent / "cgroup.controllers").read_text().split()):
                return None
        except OSError:
            return None
        missing = set(controllers) - set((parent / "cgroup.subtree_control").read_text().split())
        if missing:
            (parent / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in sorted(missing)))
        return parent

    def _unified(self) -> Path | None:
        """The group of version 2 that this process is in."""
        for root in (self.root, self.root / "unified"):
            if (root / "cgroup.controllers").exists():
                return next((root / path for number, _, path in self._memberships() if number == "0"), None)
        return None

    def _legacy(self, controller: str) -> Path | None:
        """The group of version 1 that this process is in for a controller."""
        found = (path for _, names, path in self._memberships() if controller in names.split(","))
        place = next((self.root / controller / path for path in found), None)
        if place is None:
            return None
        # In a container the path may be that of the host, which is not seen here: then the root is its own group.
        return place if place.is_dir() else self.root / controller

    def _memberships(self) -> Iterator[tuple[str, str, str]]:
        """Hierarchy, controllers and path of each group that this process is in (cgroups(7))."""
        for line in (self.process / "cgroup").read_text().splitlines():
            number, _, rest = line.partition(":")
            names, _, path = rest.partition(":")
            yield number, names, path.lstrip("/")

    def _parents(self) -> Iterator[Path]:
        with contextlib.suppress(OSError):
            own = self._unified()
            if own is not None:
                yield own.parent if own.name == _OWN else own
            for controller in ("memory", "cpu"):
                if (legacy := self._legacy(controller)) is not None:
                    yield legacy


def _name(keep: str) -> str:
    return f"enarx-deploy-{keep}"

"""What a Keep uses: what the sallyport counts, and what the kernel says of its process (proc(5))."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from enarx_deploy.models import Usage


def measure(counters: Mapping[str, int], pid: int) -> Usage:
    """Of a Keep with these counters, whose process has this number."""
    memory, cpu_seconds = _process(pid)
    return Usage(
        connections=counters["accepted"],
        connections_open=counters["open"],
        bytes_in=counters["bytes_in"],
        bytes_out=counters["bytes_out"],
        handshakes_done=counters["handshakes_done"],
        handshakes_failed=counters["handshakes_failed"],
        memory=memory,
        cpu_seconds=cpu_seconds,
    )


def _process(pid: int) -> tuple[int, float]:
    """Resident memory in bytes and processor time in seconds, as long as there is such a process."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        # The command's name, which may hold anything, is in parentheses before the fields (proc_pid_stat(5)).
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks = int(fields[11]) + int(fields[12])
        return pages * os.sysconf("SC_PAGE_SIZE"), ticks / os.sysconf("SC_CLK_TCK")
    return Usage().memory, Usage().cpu_seconds

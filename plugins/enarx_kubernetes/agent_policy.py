"""The policy of Kata's agent for one deployment.

Without one the host could run another container in the same guest, which would get the same evidence. Its requests are
those of Kata Containers 3; one that it does not know is refused.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files

CONFIGFS = "/sys/kernel/config"
"""Where a pod that is attested has the guest's attester."""

_KERNEL = ("/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys", "/sys/fs/cgroup")  # noqa: S108 - the guest's
_FILES = ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/dev/termination-log")


def text(
    image: str, args: Sequence[str], env: Sequence[str], probe: Sequence[str], memory: Sequence[str], shared: str
) -> str:
    """In Rego: `image` with `args` and `env`, and `probe` as the one command to run beside it.

    `memory` are volumes in the guest's memory, `shared` is one that the host fills.
    """
    keep = {
        "image": image,
        "args": list(args),
        "env": list(env),
        "probe": list(probe),
        "kernel": list(_KERNEL),
        "memory": list(memory),
        "configfs": CONFIGFS,
        "files": [*_FILES, shared],
    }
    rules = files(__package__).joinpath("agent_policy.rego").read_text()
    return f"{rules}\nkeep := {json.dumps(keep, indent=2)}\n"

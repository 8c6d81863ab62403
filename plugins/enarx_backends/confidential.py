"""What makes a virtual machine of QEMU's a confidential one: the words of its command line. Not yet run on hardware.

QEMU documentation, "AMD Secure Encrypted Virtualization" and "Intel Trusted Domain eXtension (TDX)"; QOM types
`sev-snp-guest` (QEMU 9.1 and later) and `tdx-guest` (QEMU 10.1 and later). Each object is given as JSON, so that no
value can be taken for another option.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

HASH_SIZE = 32
MRCONFIGID_SIZE = 48
_REDUCED_PHYSICAL_BITS = 1  # what SEV-SNP takes of the physical address (AMD APM volume 2, section 15.34.1)


class Guest(NamedTuple):
    """Words for QEMU: for `-machine`, `-cpu`, and more options."""

    machine: str
    cpu: str
    options: tuple[str, ...]


class SnpLaunch(NamedTuple):
    """What is fixed when an SNP guest is launched. `host_data` is the package's digest.

    `id_block` and `id_auth` are empty where nobody signed the image; `author_key` says that the latter has an author.
    """

    cbit: int
    policy: int
    cpu: str
    host_data: bytes
    id_block: bytes = b""
    id_auth: bytes = b""
    author_key: bool = False


def snp(launch: SnpLaunch, firmware: str, memory: int) -> Guest:
    """An SEV-SNP guest with `memory` bytes, whose kernel, initramfs and command line are measured."""
    guest: dict[str, Any] = {
        "qom-type": "sev-snp-guest",
        "id": "cc0",
        "cbitpos": launch.cbit,
        "reduced-phys-bits": _REDUCED_PHYSICAL_BITS,
        "policy": launch.policy,
        "host-data": _encoded(launch.host_data, HASH_SIZE),
        "kernel-hashes": True,
    }
    if launch.id_block:
        guest["id-block"] = base64.b64encode(launch.id_block).decode()
        guest["id-auth"] = base64.b64encode(launch.id_auth).decode()
        guest["author-key-enabled"] = launch.author_key
    machine = "q35,confidential-guest-support=cc0,memory-backend=ram0,vmport=off,smm=off"
    return Guest(machine, launch.cpu, (*_memory(memory), *_object(guest), "-bios", firmware))


def tdx(mrconfigid: bytes, firmware: str, memory: int, quote_socket: str) -> Guest:
    """A trust domain with `memory` bytes, whose quotes are signed by the service behind a UNIX socket."""
    guest = {
        "qom-type": "tdx-guest",
        "id": "cc0",
        "mrconfigid": _encoded(mrconfigid, MRCONFIGID_SIZE),
        "sept-ve-disable": True,
        "quote-generation-socket": {"type": "unix", "path": quote_socket},
    }
    machine = "q35,confidential-guest-support=cc0,memory-backend=ram0,kernel-irqchip=split,hpet=off,smm=off"
    return Guest(machine, "host,-kvm-steal-time,pmu=off", (*_memory(memory), *_object(guest), "-bios", firmware))


def _memory(size: int) -> Sequence[str]:
    """Memory that the host can give up to the guest's own pages (guest_memfd needs it shared)."""
    return _object({"qom-type": "memory-backend-memfd", "id": "ram0", "size": size, "share": True})


def _object(properties: dict[str, Any]) -> Sequence[str]:
    return "-object", json.dumps(properties, separators=(",", ":"), sort_keys=True)


def _encoded(value: bytes, size: int) -> str:
    """Base64 of a field of a fixed size: what is shorter ends in zeros."""
    if len(value) > size:
        raise ValueError(f"{len(value)} bytes do not fit into {size}")
    return base64.b64encode(value.ljust(size, b"\0")).decode()

"""What a Keep's process can do in its machine. Runs in the place of `enarx_keep.life`, and tells by stderr."""

import ctypes
import json
import os
import socket
from pathlib import Path


def attempt(what):
    try:
        what()
    except OSError as error:
        return os.strerror(error.errno)
    return "done"


status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
STATUS = ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb", "NoNewPrivs")
libc = ctypes.CDLL(None, use_errno=True)


def mount_anew():
    if libc.mount(b"none", b"/", b"tmpfs", 0, None):
        raise OSError(ctypes.get_errno(), "")


def load_module():
    descriptor = os.open("/usr/lib/modules/tsm.ko", os.O_RDONLY)
    if libc.syscall(313, descriptor, b"", 0):
        raise OSError(ctypes.get_errno(), "")


def read(path):
    with Path(path).open("rb") as file:
        return file.read(1)


def mounts():
    """Place and options of each."""
    return [line.split()[1:4:2] for line in Path("/proc/mounts").read_text().splitlines()]


ATTEMPTS = {
    "write a file": lambda: Path("/new").write_text(""),
    "set what the kernel does": lambda: Path("/proc/sys/kernel/core_pattern").write_text("|/init"),
    "look into the kernel": lambda: read("/proc/kcore"),
    "look into the first process": lambda: read("/proc/1/mem"),
    "end the first process": lambda: os.kill(1, 9),
    "open the port": lambda: os.open("/dev/sallyport", os.O_RDWR),
    "mount": mount_anew,
    "load a module": load_module,
    "be root": lambda: os.setuid(0),
    "make a device": lambda: os.mknod("/dev/mem", 0o20600, os.makedev(1, 1)),
}
found = {
    "ids": [os.getresuid(), os.getresgid(), os.getgroups()],
    "status": {name: status[name].strip() for name in STATUS},
    "parent": os.getppid(),
    "mounts": sorted(place for place, _ in mounts()),
    "read-only": sorted(place for place, options in mounts() if options.split(",")[0] == "ro"),
    "devices": sorted(path.name for path in Path("/dev").iterdir()),
    "interfaces": [name for _, name in socket.if_nameindex()],
    "modules": sorted(line.split()[0] for line in Path("/proc/modules").read_text().splitlines()),
    "attempts": {name: attempt(what) for name, what in ATTEMPTS.items()},
}
os.write(2, f"found {json.dumps(found)}\n".encode())

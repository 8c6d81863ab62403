"""`main()`: be the first process of a Keep that is a virtual machine. Started by the kernel, from the Keep's image.

1. Mount the kernel's own file systems, and load the modules that the image lists, in that order.
2. Wait for the ports that the host gave: the sallyport's, and perhaps one for complaints. Where the host gave a vsock
   device in the place of the first, connect to it.
3. Close what has served: no more modules, no other kernel, no file system that can be written.
4. Start the Keep as a process of its own without rights, and wait for its end; then switch the machine off.

The root file system is the image, which is measured. There is no other program in it, and no shell.
"""

from __future__ import annotations

import _thread
import contextlib
import ctypes
import errno
import fcntl
import os
import resource
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from enarx_sallyport import Carrier

PORT = "org.enarx.sallyport.0"
"""The virtio-serial port that carries the sallyport."""
LOG_PORT = "org.enarx.log.0"
"""The virtio-serial port for complaints, if the host wants them: what a Keep that is a process writes to stderr."""
KEEP_USER = 65534
CODE_WORD = "keep.code=sha256:"
"""Of the kernel's command line, which is measured: before the SHA-256 (hex) of native code that the host may hand over.
Without it no such code is run."""
MODULES = Path("/usr/lib/modules")
"""Kernel modules, a file `order` that lists their names in the order in which they are loaded, and a file `vsock` with
those that are loaded where the host reaches the machine by vsock."""

_STDERR = 2
_HEX_DIGITS = 64
_PORT_SECONDS = 10.0
_LAST_WORDS = 30.0  # seconds that the host has to take what the Keep published last
_PORTS = Path("/sys/class/virtio-ports")
_VIRTIO = Path("/sys/bus/virtio/devices")
_SOCKET_DEVICE = "0x0013"
_VSOCK = Path("/sys/class/misc/vsock")
_GET_LOCAL_CID = 0x7B9  # linux/vm_sockets.h
_CONFIGFS = Path("/sys/kernel/config")
_DEVICES = ("misc/sev-guest", "misc/tdx_guest")

_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REMOUNT = 1, 2, 4, 8, 32
_PLAIN = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
_FIRST_MOUNTS = (("proc", "/proc", _PLAIN), ("sysfs", "/sys", _PLAIN))
_CLOSING = {
    "kernel/modules_disabled": "1",
    "kernel/kexec_load_disabled": "1",
    "kernel/kptr_restrict": "2",
    "kernel/dmesg_restrict": "1",
    "kernel/unprivileged_bpf_disabled": "1",
    "kernel/io_uring_disabled": "2",
    "kernel/perf_event_paranoid": "3",
    "kernel/sysrq": "0",
    "kernel/yama/ptrace_scope": "3",
    "user/max_user_namespaces": "0",
}
"""Settings of the kernel, each of which only a new start takes back or that nobody is left to change."""

_CAP_DAC_OVERRIDE, _CAP_LAST = 1, 63
_CAPABILITY_VERSION_3 = 0x20080522
_PR_CAPBSET_DROP, _PR_SET_SECUREBITS, _PR_SET_NO_NEW_PRIVS = 24, 28, 38
_SECUREBITS = 0b1110_1111
"""No rights by being root, none kept across a change of user, none raised, and all of that locked (capabilities(7))."""
_SYS_FINIT_MODULE = 313
_RB_POWER_OFF = 0x4321FEDC

_libc = ctypes.CDLL(None, use_errno=True)


class MachineFault(Exception):
    """The machine cannot be made ready for a Keep."""


def main() -> NoReturn:
    """Be the first process; ends by switching the machine off, whatever happens."""
    began = time.monotonic()
    try:
        _fill_standard_descriptors()
        port = _make_ready()
        _say(_run(port, began))
    except Exception as fault:  # noqa: BLE001 - there is nobody above to take it
        _say(f"the machine cannot run a Keep: {type(fault).__name__}: {fault}")
    finally:
        os.sync()
        _libc.reboot(_RB_POWER_OFF)
    os._exit(1)  # which the kernel takes for a fault of its own, and starts anew


def _make_ready() -> int:
    """Steps 1 to 3; answers the descriptor of the sallyport's port."""
    for kind, place, flags in _FIRST_MOUNTS:
        _mount(kind, place, flags)
    lacking = [name for name in (MODULES / "order").read_text().split() if not _load(name)]
    if _CONFIGFS.is_dir():
        _mount("configfs", str(_CONFIGFS), _PLAIN)
        _unmount_without_provider()
    port = _open_port(PORT)
    _make_devices()
    _close_machine()
    _say(f"ready; without {', '.join(lacking) or 'nothing'}")
    return port


def _fill_standard_descriptors() -> None:
    """Without a console the kernel opens none of them, and what is opened next must not take the place of stderr."""
    while (null := os.open("/dev/null", os.O_RDWR)) <= _STDERR:
        pass
    os.close(null)


def _mount(kind: str, place: str, flags: int) -> None:
    _require(_libc.mount(kind.encode(), place.encode(), kind.encode(), flags, None), f"mount {kind} on {place}")


def _unmount_without_provider() -> None:
    """Where no hardware answers requests for evidence the Keep, which may make none, must not take them for refused."""
    entry = _CONFIGFS / "tsm/report/first"
    try:
        entry.mkdir()
        entry.rmdir()
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ENOENT):
            _require(_libc.umount2(str(_CONFIGFS).encode(), 0), f"unmount {_CONFIGFS}")


def _load(name: str) -> bool:
    """Load a module; answers False where this machine does not have what it is for."""
    descriptor = os.open(MODULES / f"{name}.ko", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.syscall(_SYS_FINIT_MODULE, descriptor, b"", 0) and ctypes.get_errno() != errno.EEXIST:
            if ctypes.get_errno() == errno.ENODEV:
                return False
            _require(-1, f"load the module {name}")
    finally:
        os.close(descriptor)
    return True


def _open_port(name: str) -> int:
    """Wait for the port, whose name the host tells some time after the start. The log's is taken on the way."""
    by_vsock = _has_vsock()
    until = time.monotonic() + _PORT_SECONDS
    while True:
        ports = dict(_ports())
        if name in ports or (by_vsock and LOG_PORT in ports):
            break
        if time.monotonic() > until:
            raise MachineFault(f"the host gave no virtio-serial port {name}, only {sorted(ports) or 'none'}")
        time.sleep(0.005)
    if LOG_PORT in ports:
        log = _open_device("log", ports[LOG_PORT])
        os.dup2(log, _STDERR)
        os.close(log)
    return _open_device("sallyport", ports[name]) if name in ports else _connect_by_vsock()


def _has_vsock() -> bool:
    """Whether the host gave the machine a socket device (virtio 1.2, section 5.10)."""
    return any(place.read_text().strip() == _SOCKET_DEVICE for place in _VIRTIO.glob("*/device"))


def _connect_by_vsock() -> int:
    """The sallyport's stream to the host, who waits at the port of this machine's own number."""
    import socket

    for name in (MODULES / "vsock").read_text().split():
        if not _load(name):
            raise MachineFault(f"the module {name} finds no vsock")
    device = _open_device("vsock", _number(_VSOCK))
    try:
        (own,) = struct.unpack("=I", fcntl.ioctl(device, _GET_LOCAL_CID, bytes(4)))
    finally:
        os.close(device)
    with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as stream:
        stream.connect((socket.VMADDR_CID_HOST, own))
        return stream.detach()


def _ports() -> Iterator[tuple[str, int]]:
    """The ports that are there: name and device number."""
    for place in _PORTS.glob("*"):
        with contextlib.suppress(OSError):
            yield (place / "name").read_text().strip(), _number(place)


def _number(place: Path) -> int:
    major, _, minor = (place / "dev").read_text().strip().partition(":")
    return os.makedev(int(major), int(minor))


def _open_device(name: str, number: int) -> int:
    _make_node(name, number)
    return os.open(f"/dev/{name}", os.O_RDWR | os.O_CLOEXEC)


def _make_node(name: str, number: int) -> None:
    os.mknod(f"/dev/{name}", 0o600 | 0o020000, number)  # S_IFCHR


def _make_devices() -> None:
    """The devices that evidence comes from, where this machine has them; the Keep may open them."""
    for place in map(Path("/sys/class").joinpath, _DEVICES):
        if place.exists():
            _make_node(place.name, _number(place))
            os.chown(f"/dev/{place.name}", KEEP_USER, KEEP_USER)


def _close_machine() -> None:
    for name, value in _CLOSING.items():
        Path("/proc/sys", name).write_text(value)
    for place, flags in (("/proc", _PLAIN), ("/sys", _PLAIN), ("/", _MS_NOSUID)):
        _require(
            _libc.mount(None, place.encode(), None, flags | _MS_REMOUNT | _MS_RDONLY, None), f"make {place} read-only"
        )


def _run(port: int, began: float) -> str:
    """Start the Keep and wait for its end; answers how it ended."""
    keep = os.fork()
    if not keep:
        _be_the_keep(port, began)
    os.close(port)
    while True:  # whatever else ends was left to the first process
        ended, status = os.wait()
        if ended == keep:
            return f"the Keep ended with status {os.waitstatus_to_exitcode(status)}"


def _be_the_keep(port: int, began: float) -> NoReturn:
    try:
        _drop_rights()
        _live(port, began)
        os._exit(0)
    except BaseException as fault:  # noqa: BLE001 - never back into what the first process does
        _say(f"the Keep failed: {type(fault).__name__}: {fault}")
        os._exit(1)


def _live(port: int, began: float) -> None:
    """Be the Keep, with a carrier of the sallyport beside it that ends it when the host has gone."""
    from enarx_keep.attester.hardware import VIRTUAL_MACHINE
    from enarx_keep.life import live
    from enarx_sallyport import Carrier, check_wasmtime

    check_wasmtime()
    handed = measured_code(Path("/proc/cmdline").read_text())
    carrier = Carrier.beside_guest(port)
    _thread.start_new_thread(_end_with, (carrier,))
    live(carrier.guest(), None, began, VIRTUAL_MACHINE, handed=handed)
    carrier.finish(_LAST_WORDS)


def measured_code(cmdline: str) -> str:
    """The digest (hex) of the code that the command line lets the host hand over; "" if it lets it hand over none.

    Raises MachineFault where that is not clear.
    """
    found = [word.removeprefix(CODE_WORD) for word in cmdline.split() if word.startswith(CODE_WORD)]
    if len(found) > 1 or any(len(digest) != _HEX_DIGITS or set(digest) - set("0123456789abcdef") for digest in found):
        raise MachineFault("the command line does not say which code may be run")
    return found[0] if found else ""


def _end_with(carrier: Carrier) -> None:
    """Without a host there is nobody to serve; one that breaks the protocol is not served any more."""
    fault = carrier.wait()
    if fault:
        _say(fault)
    os._exit(1 if fault else 0)


def _drop_rights() -> None:
    """Be a user without rights, for good.

    Attributes of configfs-tsm belong to root, so that a Keep which has evidence to ask for there may pass over modes of
    files. There are no files that it could write but those.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    has_evidence = any(Path("/dev", Path(name).name).exists() for name in _DEVICES)
    kept = 1 << _CAP_DAC_OVERRIDE if has_evidence else 0
    for capability in range(_CAP_LAST + 1):
        if _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) and ctypes.get_errno() != errno.EINVAL:
            _require(-1, f"drop capability {capability}")
    os.setgroups([])
    os.setresgid(KEEP_USER, KEEP_USER, KEEP_USER)
    _require(_libc.prctl(_PR_SET_SECUREBITS, _SECUREBITS, 0, 0, 0), "lock the secure bits")
    os.setresuid(KEEP_USER, KEEP_USER, KEEP_USER)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)(kept, kept, 0, 0, 0, 0)  # effective, permitted, inheritable; then the upper halves
    _require(_libc.capset(header, sets), "give up capabilities")
    _require(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "give up new rights")


def _require(result: int, what: str) -> None:
    if result:
        raise MachineFault(f"cannot {what}: {os.strerror(ctypes.get_errno())}")


def _say(line: str) -> None:
    with contextlib.suppress(OSError):
        os.write(_STDERR, f"keep: {line}\n".encode())

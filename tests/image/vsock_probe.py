#!/usr/bin/python3.13 -ISB
"""The sallyport's frames over AF_VSOCK, both ends in one machine. Runs in the place of the image's first program."""

import os
import socket
import sys

sys.path.append("/usr/lib/keep")

from enarx_keep import machine
from enarx_sallyport import Carrier, Guest, Host

PORT = 70_000
SAID = bytes(range(256)) * 1000


def carried():
    """What becomes of what the guest's half says, by the kernel's own loopback, on its way to the host's half."""
    with socket.socket(socket.AF_VSOCK) as listener, socket.socket(socket.AF_VSOCK) as theirs:
        listener.bind((socket.VMADDR_CID_ANY, PORT))
        listener.listen(1)
        theirs.connect((1, PORT))  # VMADDR_CID_LOCAL
        ours, (number, _) = listener.accept()
        host = Host(files=0, connections=0, ring_bytes=4096)
        host.start()
        with ours:
            outer = Carrier.beside_host(host.block_fd, host.doorbell_fd, ours.fileno())
        inner = Carrier.beside_guest(theirs.fileno())
    if not os.fork():
        Guest(os.dup(inner.block_fd), os.dup(inner.doorbell_fd)).control_write(SAID)
        os._exit(0)
    got = b""
    while len(got) < len(SAID) and not outer.fault:
        got += os.read(host.control_fd, 1 << 16)
    return "carried" if got == SAID and number == 1 else "lost"


def tried():
    """The modules, the device that has the machine's number, and the frames."""
    for name in ("vsock", "vmw_vsock_virtio_transport_common", "vsock_loopback"):
        if not machine._load(name):
            return f"no {name}"
    os.close(machine._open_device("vsock", machine._number(machine._VSOCK)))
    return carried()


machine._fill_standard_descriptors()
for kind, place, flags in machine._FIRST_MOUNTS:
    machine._mount(kind, place, flags)
while machine.LOG_PORT not in (ports := dict(machine._ports())):
    pass
log = machine._open_device("log", ports[machine.LOG_PORT])
try:
    os.write(log, tried().encode())
except OSError as fault:
    os.write(log, str(fault).encode())
machine._libc.reboot(machine._RB_POWER_OFF)

"""A Keep that is a virtual machine of QEMU's, as its host process holds it.

One thread takes what comes out beside the sallyport: complaints (the guest's log port and QEMU's own words), of which a
bounded number of bytes is passed on, and what QEMU's monitor tells of the machine's end.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from enarx_backends import own_user, qemu
from enarx_backends.confidential import Guest
from enarx_backends.vsock import Line
from enarx_deploy.errors import KeepError
from enarx_deploy.protocols import Launch
from enarx_sallyport import Carrier

COMPLAINTS_LIMIT = 1 << 20
"""Most bytes of complaints of one Keep that are passed on."""
BOOT_LIMIT = 240.0
"""Seconds that a guest may take to its first program: emulated, on a machine with much to do, it may take a minute."""
SWITCH_OFF = 10.0
"""Seconds that a machine whose Keep has said its last word has to be off."""

_PIECE = 1 << 16
_TOLD = 400
_LOOK_EVERY = 5.0
_ENDED_BY = {
    "limit": f"the guest did not start its first program in {BOOT_LIMIT:.0f} s",
    "stop": "KVM could not go on with the guest, as may happen under nested virtualization",
}


class Ends:
    """Socket pairs between this process and QEMU: ours, and theirs until QEMU has them."""

    def __init__(self) -> None:
        self._pairs = [socket.socketpair() for _ in range(3)]
        self.sallyport, self.log, self.monitor = (ours for ours, _ in self._pairs)
        self.theirs = qemu.Channels(*(theirs.fileno() for _, theirs in self._pairs))

    def give_away(self) -> None:
        """QEMU has its ends, so that ours end with it."""
        for _, theirs in self._pairs:
            theirs.close()

    def close(self) -> None:
        """Nothing has come of it."""
        self.give_away()
        for ours, _ in self._pairs:
            ours.close()


class Plan(NamedTuple):
    """What a machine is made of. The descriptors of `boot`, of the accelerator, and those that the guest's words name
    (`more`) are closed by whoever opened them, and so is the `line`."""

    program: qemu.Qemu
    guest: Guest
    accelerator: qemu.Accelerator
    boot: qemu.Boot
    memory: int
    more: tuple[int, ...] = ()
    line: Line | None = None


class VirtualMachine:
    """A machine that was started. See `KeepProcess` and `OwnMachine`."""

    def __init__(self, plan: Plan, complaints: int, image: str = "", compiled: bytes = b"") -> None:
        """Start it; `complaints` is where its words go. Raises KeepError."""
        self.image = image
        self.compiled = compiled
        self._carrier: Carrier | None = None
        self._complaints = complaints
        self._left = COMPLAINTS_LIMIT
        self._tail = bytearray()
        self._qemus_tail = bytearray()
        self._ended_by = ""
        self._port_open = threading.Event()
        self._monitored = bytearray()
        self._user = own_user.claim()
        self._ends = Ends()
        own, qemus = os.pipe2(os.O_CLOEXEC)
        try:
            descriptors = [*self._ends.theirs, plan.boot.kernel, plan.boot.initrd, *plan.more]
            if plan.accelerator.device >= 0:
                descriptors.append(plan.accelerator.device)
            if plan.line is not None:
                descriptors.append(plan.line.device)
            words = qemu.words(plan.guest, plan.accelerator, plan.boot, self._ends.theirs, plan.memory, plan.line)
            self._process = qemu.spawn(plan.program, words, descriptors, qemus, self._user)
        except BaseException:
            self._user.give_back()
            self._ends.close()
            os.close(own)
            raise
        finally:
            os.close(qemus)
        self.pid = self._process.pid
        self._ends.give_away()
        self._watcher = threading.Thread(target=self._watch, args=(own,), name="machine-watch", daemon=True)
        self._watcher.start()

    def carry(self, block_fd: int, doorbell_fd: int) -> None:
        """Carry the sallyport of this block to the guest. Raises OSError, RuntimeError."""
        self._carrier = Carrier.beside_host(block_fd, doorbell_fd, self._ends.sallyport.fileno())
        self._ends.sallyport.close()
        threading.Thread(target=self._end_with, args=(self._carrier,), name="machine-carrier", daemon=True).start()

    def carrying(self, launch: Launch, line: Line | None = None) -> VirtualMachine:
        """The same, as the Keep of this launch. By a line it has booted when this returns.

        Raises KeepError, and has ended then.
        """
        try:
            if line is not None:
                self._take_connection(line)
            self.carry(launch.block_fd, launch.doorbell_fd)
        except KeepError as error:
            self.wait()
            raise KeepError(f"{error}: {self.explanation()}", hint=error.hint) from error
        except (OSError, RuntimeError) as error:
            self.kill()
            self.wait()
            raise KeepError(
                f"the sallyport cannot be carried to the machine: {error}",
                hint="is the machine short of memory, threads or descriptors?",
            ) from error
        return self

    def _take_connection(self, line: Line) -> None:
        """What connects is the sallyport's stream, in the place of QEMU's. Raises KeepError."""
        connection = line.accept(lambda: self.poll() is not None)
        self._port_open.set()
        self._ends.sallyport.close()
        self._ends.sallyport = connection

    def reaches_its_program(self, seconds: float) -> bool:
        """Whether the guest's first process has opened the sallyport's port by then."""
        until = time.monotonic() + seconds
        while not self._port_open.wait(0.1):
            if time.monotonic() > until or self.poll() is not None:
                return self._port_open.is_set()
        return True

    def poll(self) -> int | None:
        """See `KeepProcess`."""
        return self._process.poll()

    def wait(self, timeout: float | None = None) -> int:
        """See `KeepProcess`. What the guest published last has come through by then."""
        try:
            status = self._process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError from error
        if self._carrier is not None:
            self._carrier.wait()
        self._watcher.join()
        self._ends.close()
        self._user.give_back()
        return status

    def kill(self) -> None:
        """See `KeepProcess`."""
        self._process.kill()

    def explanation(self) -> str:
        """See `OwnMachine`."""
        status = self._process.poll()
        if self._carrier is not None and self._carrier.fault:
            return self._carrier.fault
        if self._ended_by in _ENDED_BY:
            return _ENDED_BY[self._ended_by]
        if status is not None and status < 0:
            return f"QEMU was ended by {signal.Signals(-status).name}"
        if status:
            return f"QEMU ended with status {status}: {_last_lines(self._qemus_tail) or 'it said nothing'}"
        said = _last_lines(self._tail) or "it said nothing"
        if self._ended_by == "guest-reset":
            return f"the guest's kernel gave up and wanted to start anew, as after a panic: {said}"
        return f"the guest switched itself off: {said}"

    def _end_with(self, carrier: Carrier) -> None:
        """A machine with which there is nothing more to be said is ended, if it does not end by itself."""
        if carrier.wait() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(SWITCH_OFF)
        self._process.kill()

    def _watch(self, qemus: int) -> None:
        """Take what comes, until all of it has ended."""
        with contextlib.suppress(OSError):
            self._ends.monitor.sendall(b'{"execute":"qmp_capabilities"}\n')
        by = time.monotonic() + BOOT_LIMIT
        takers: Sequence[tuple[int, Callable[[bytes], None]]] = (
            (qemus, self._take_qemus),
            (self._ends.log.fileno(), self._take_complaint),
            (self._ends.monitor.fileno(), self._take_event),
        )
        with selectors.DefaultSelector() as selector:
            for descriptor, take in takers:
                selector.register(descriptor, selectors.EVENT_READ, take)
            while selector.get_map():
                for key, _ in selector.select(_LOOK_EVERY):
                    if not self._take_piece(key.fd, key.data):
                        selector.unregister(key.fd)
                if not self._port_open.is_set() and time.monotonic() > by:
                    self._end_by("limit")
        os.close(qemus)

    def _end_by(self, reason: str) -> None:
        """End a machine that will not end by itself."""
        self._ended_by = self._ended_by or reason
        self._process.kill()

    def _take_piece(self, descriptor: int, take: Callable[[bytes], None]) -> bool:
        try:
            piece = os.read(descriptor, _PIECE)
        except OSError:
            return False
        take(piece)
        return bool(piece)

    def _take_complaint(self, piece: bytes) -> None:
        self._tail = (self._tail + piece)[-_PIECE:]
        self._pass_on(piece)

    def _take_qemus(self, piece: bytes) -> None:
        self._qemus_tail = (self._qemus_tail + piece)[-_PIECE:]
        self._pass_on(piece)

    def _pass_on(self, piece: bytes) -> None:
        """What goes beyond the limit is taken, so that nobody waits, and dropped."""
        passed, self._left = piece[: self._left], max(0, self._left - len(piece))
        with contextlib.suppress(OSError):
            os.write(self._complaints, passed)

    def _take_event(self, piece: bytes) -> None:
        """Lines of JSON (QEMU documentation, "QEMU Machine Protocol"), which no guest has a hand in."""
        *lines, rest = (self._monitored + piece).split(b"\n")
        self._monitored = rest[-_PIECE:]
        for line in lines:
            with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
                self._note(json.loads(line))

    def _note(self, event: object) -> None:
        if not isinstance(event, dict):
            return
        if (
            event.get("event") == "STOP"
        ):  # nobody asks for that: KVM has lost the guest, which QEMU would keep for a look
            self._end_by("stop")
        data = event.get("data")
        if not isinstance(data, dict):
            return
        if event.get("event") == "SHUTDOWN":
            self._ended_by = str(data["reason"])
        if event.get("event") == "VSERPORT_CHANGE" and data["id"] == "sallyport" and data["open"]:
            self._port_open.set()


def _last_lines(said: bytearray) -> str:
    """The end of what was said, on one line."""
    lines = [line.strip() for line in said.decode(errors="replace").splitlines()]
    return " / ".join(line for line in lines if line)[-_TOLD:]

"""Evidence through configfs-tsm, the kernel's one interface for all kinds (Linux 6.7 and later).

Documentation/ABI/testing/configfs-tsm-report in the kernel's sources:

1. Make an entry of our own; its name is random, so that nobody else uses it by chance.
2. Read `generation`, write `privlevel` (where there is one) and `inblob`, 64 bytes of report data.
3. Read `outblob`, `provider`, and `auxblob` where there is one.
4. Read `generation` again: it must have grown by the number of our writes. If not, somebody else wrote to our entry,
   and the answer is for their question: again from 2, a few times.
5. Remove the entry, whatever happened.
"""

from __future__ import annotations

import contextlib
import errno
import secrets
from collections.abc import Iterator

from enarx_keep.attester import certificate_table
from enarx_keep.attester.machine import Machine
from enarx_keep.attester.source import EVIDENCE_LIMIT, Evidence, Probe, check_commitment
from enarx_keep.errors import NoEvidence

CONFIGFS = "sys/kernel/config"
REPORTS = f"{CONFIGFS}/tsm/report"
ATTEMPTS = 4

_KINDS = {"sev_guest": "snp", "tdx_guest": "tdx", "arm_cca_guest": "cca"}
"""What `provider` says, and the kind of evidence in `outblob`."""
_ATTRIBUTE_LIMIT = 4096
_NO_REPORT = "look for the kernel's message; a reboot of the guest may be needed"
_HINTS = {
    errno.EPERM: "run the Keep as root: only root may ask",
    errno.EACCES: "run the Keep as root: only root may ask",
    errno.ENXIO: "load the guest's driver: sev-guest, tdx_guest or arm_cca_guest",
    errno.ENOENT: "load the guest's driver: sev-guest, tdx_guest or arm_cca_guest",
    errno.EBUSY: "an earlier request is still with the host; ask again later",
    errno.EFBIG: "the evidence is larger than this kernel or Keep takes; a newer kernel may take it",
    errno.EINVAL: "the driver did not take the report data or the privilege level",
    errno.ETIMEDOUT: "the host did not answer: is its quoting service (QGS) running?",
    errno.EIO: _NO_REPORT,
}
_EMPTY = "the host's quoting service (QGS) is down or too old for this guest: the host's operator can see in its log"


class ConfigfsTsm:
    """See the module."""

    name = "configfs-tsm"

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def probe(self) -> Probe:
        """Make an entry, and see whose it is."""
        if not self._machine.has(REPORTS):
            mounted = self._machine.has(f"{CONFIGFS}/tsm")
            absent = (
                "it has no report directory" if mounted else "configfs is not mounted, or the kernel has no tsm in it"
            )
            return Probe(self.name, why_not=f"/{REPORTS}: {absent}")
        try:
            with self._entry() as entry:
                provider = self._text(entry, "provider")
        except OSError as error:
            absent_driver = error.errno == errno.ENXIO
            return Probe(self.name, why_not=f"/{REPORTS}: {_explain(error)}", present=not absent_driver)
        kind = _KINDS.get(provider, "")
        why_not = "" if kind else f"no kind of evidence is known for the provider {provider!r}"
        return Probe(self.name, kind, why_not, present=True)

    def evidence(self, package: str, data: bytes) -> Evidence:  # noqa: ARG002 — hardware evidence names no package
        """See `Source`."""
        try:
            with self._entry() as entry:
                for _ in range(ATTEMPTS):
                    answer = self._attempt(entry, data)
                    if answer is not None:
                        return answer
        except OSError as error:
            raise NoEvidence(f"{self.name}: {error.strerror}", hint=_HINTS.get(error.errno or 0, "")) from error
        raise NoEvidence(
            f"{self.name}: somebody else wrote to the Keep's entry, {ATTEMPTS} times",
            hint="nothing else in a Keep should use it",
        )

    @contextlib.contextmanager
    def _entry(self) -> Iterator[str]:
        """An entry of our own, as its path. Raises OSError."""
        entry = f"{REPORTS}/keep-{secrets.token_hex(8)}"
        self._machine.make_directory(entry)
        try:
            yield entry
        finally:
            with contextlib.suppress(OSError):  # what went wrong before says more
                self._machine.remove_directory(entry)

    def _attempt(self, entry: str, data: bytes) -> Evidence | None:
        """One round; None if somebody else wrote meanwhile. Raises OSError, NoEvidence."""
        before = self._number(entry, "generation")
        writes = self._ask(entry, data)
        report = self._machine.read(f"{entry}/outblob", EVIDENCE_LIMIT)
        provider = self._text(entry, "provider")
        has_certificates = self._machine.has(f"{entry}/auxblob")
        certificates = self._machine.read(f"{entry}/auxblob", EVIDENCE_LIMIT) if has_certificates else b""
        if self._number(entry, "generation") != before + writes:
            return None
        kind = _KINDS.get(provider)
        if kind is None:
            raise NoEvidence(f"{self.name}: no kind of evidence is known for the provider {provider!r}")
        if not report:
            raise NoEvidence(f"{self.name}: the report is empty, and the kernel says of no error", hint=_EMPTY)
        check_commitment(kind, report, data, self.name)
        return Evidence(kind, report, certificate_table.read(certificates) if kind == "snp" else {})

    def _ask(self, entry: str, data: bytes) -> int:
        """Write the question; answers how many writes it took."""
        writes = 1
        if self._machine.has(f"{entry}/privlevel_floor"):
            # The most that this guest may claim: a guest that is not at level 0 cannot ask for it.
            self._machine.write(f"{entry}/privlevel", str(self._number(entry, "privlevel_floor")).encode())
            writes += 1
        self._machine.write(f"{entry}/inblob", data)
        return writes

    def _number(self, entry: str, name: str) -> int:
        text = self._text(entry, name)
        if not text.isdecimal():
            raise NoEvidence(f"{self.name}: {name} is {text!r}, not a number")
        return int(text)

    def _text(self, entry: str, name: str) -> str:
        return self._machine.read(f"{entry}/{name}", _ATTRIBUTE_LIMIT).decode(errors="replace").strip()


def _explain(error: OSError) -> str:
    hint = _HINTS.get(error.errno or 0)
    return f"{error.strerror}; {hint}" if hint else str(error.strerror)

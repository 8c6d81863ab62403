"""In the place of `gramine-sgx`, for tests of the process and the channel: it protects nothing.

`PYTHON gramine_stand_in.py LIBPAL ATTESTATION NAME` does with the manifest and the signature of that name what Gramine
and the processor do, as far as a process goes:

1. The signature is one, and of an enclave that measures so (EINIT).
2. Each file that the manifest names has the digest that it has there, and no other is in the enclave.
3. The program has the manifest's arguments and environment, and nothing of the host's but its standard descriptors.
4. System calls that Gramine does not have are refused.

`/dev/attestation` is that of the directory ATTESTATION, which a test serves.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import struct
import sys
import tomllib
from pathlib import Path

from enarx_measurement.gramine_enclave import Enclave, measure
from enarx_measurement.sgx_sigstruct import Sigstruct, read

SIGSTRUCT = "sigstruct"
"""Beside what /dev/attestation has: what was launched, for whoever makes quotes."""
_NOT_GRAMINES = {
    "mremap": 25, "getrusage": 98, "capget": 125, "capset": 126, "prctl": 157, "eventfd": 284, "eventfd2": 290,
    "seccomp": 317, "memfd_create": 319, "execveat": 322, "userfaultfd": 323, "io_uring_setup": 425, "pidfd_open": 434,
    "clone3": 435, "landlock_create_ruleset": 444, "memfd_secret": 447,
}  # fmt: skip
"""By Gramine's list of features, and eventfds, which manifests of ours do not ask for."""
_CLONE_NEWUSER = 0x10000000
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _FILTER = 38, 22, 2
_ALLOW, _ENOSYS = 0x7FFF0000, 0x00050000 | 38
_libc = ctypes.CDLL(None, use_errno=True)


def main(pal: Path, attestation: Path, name: str) -> None:
    text = Path(f"{name}.manifest.sgx").read_bytes()
    manifest = tomllib.loads(text.decode())
    signature = Path(f"{name}.sig").read_bytes()
    require_signed(read(signature), manifest, text, pal.read_bytes())
    (attestation / SIGSTRUCT).write_bytes(signature)
    inside = laid_out(manifest)
    place = inside / "dev/attestation"
    place.mkdir(parents=True)
    for file in ("attestation_type", "user_report_data", "quote"):
        os.link(attestation / file, place / file)
    enter(inside)
    program, environment = manifest["libos"]["entrypoint"], manifest["loader"]["env"]
    refuse_system_calls()
    os.execve(program, manifest["loader"]["argv"], environment)  # noqa: S606 - as Gramine does


def require_signed(sigstruct: Sigstruct, manifest: dict, text: bytes, pal: bytes) -> None:
    sgx = manifest["sgx"]
    size = int(sgx["enclave_size"].removesuffix("M")) << 20
    if sigstruct.body.mrenclave != measure(Enclave(text, pal, size, sgx["max_threads"])):
        sys.exit("error: EINIT: the enclave does not measure to what was signed")
    if sgx["debug"] or sigstruct.body.debug:
        sys.exit("error: this enclave could be looked into")


def laid_out(manifest: dict) -> Path:
    """The root directory, of the files that are named."""
    inside = Path("inside").absolute()
    inside.mkdir(mode=0o755)
    trusted = {file["uri"]: file["sha256"] for file in manifest["sgx"]["trusted_files"]}
    entrypoint = manifest["loader"]["entrypoint"]
    root = f"{manifest['fs']['root']['uri']}/"
    for uri, sha256 in {**trusted, entrypoint["uri"]: entrypoint["sha256"]}.items():
        file = Path(uri.removeprefix("file:"))
        if hashlib.sha256(file.read_bytes()).hexdigest() != sha256:
            sys.exit(f"error: {file} does not have the hash that the manifest has for it")
        if uri.startswith(root):
            place = inside / uri.removeprefix(root)
            place.parent.mkdir(parents=True, exist_ok=True)
            os.link(file, place)
    return inside


def enter(inside: Path) -> None:
    if os.geteuid():
        _require(_libc.unshare(_CLONE_NEWUSER), "a user namespace")
    os.chroot(inside)
    os.chdir("/")


def refuse_system_calls() -> None:
    """A filter of seccomp(2), in the words of bpf: the number of the call is the first word of what it looks at."""
    words = [struct.pack("=HBBI", 0x20, 0, 0, 0)]
    for number in _NOT_GRAMINES.values():
        words += [struct.pack("=HBBI", 0x15, 0, 1, number), struct.pack("=HBBI", 0x06, 0, 0, _ENOSYS)]
    words.append(struct.pack("=HBBI", 0x06, 0, 0, _ALLOW))
    program = ctypes.create_string_buffer(b"".join(words))
    head = ctypes.create_string_buffer(struct.pack("@HP", len(words), ctypes.addressof(program)))
    _require(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no new rights")
    _require(_libc.prctl(_PR_SET_SECCOMP, _FILTER, head, 0, 0), "a filter")


def _require(result: int, what: str) -> None:
    if result:
        sys.exit(f"error: {what}: {os.strerror(ctypes.get_errno())}")


def install(prefix: Path, pal: bytes, libos: bytes, attestation: Path) -> Path:
    """Put it below `prefix`, as Gramine is installed; answers the directory of its program."""
    libraries, programs = prefix / "lib/gramine", prefix / "bin"
    (libraries / "sgx").mkdir(parents=True)
    programs.mkdir()
    (libraries / "sgx/libpal.so").write_bytes(pal)
    (libraries / "libsysdb.so").write_bytes(libos)
    program = programs / "gramine-sgx"
    program.write_text(
        f"#!/bin/sh\nLIBPAL_PATH={libraries}/sgx/libpal.so\n"
        '[ "$1" = --version ] && { echo "Gramine 1.9 (a stand-in)"; exit; }\n'
        f'exec {sys.executable} {Path(__file__).absolute()} "$LIBPAL_PATH" {attestation} "$1"\n'
    )
    program.chmod(0o755)
    attestation.mkdir()
    (attestation / "attestation_type").write_text("dcap\n")
    (attestation / "user_report_data").write_bytes(bytes(64))
    os.mkfifo(attestation / "quote")
    return programs


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])

"""A Keep in the stand-in's process: its certificate, what it refuses, and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from enarx_attestation.intel_collateral import read_collateral
from enarx_backends import compiling, gramine, sgx
from enarx_backends.kvm import Kvm
from enarx_backends.nil import Nil
from enarx_backends.snp import Snp
from enarx_deploy.errors import KeepError
from enarx_deploy.host.session import Session, Stdio
from enarx_deploy.manifest import parse
from enarx_deploy.models import Module
from enarx_deploy.package_tree import build
from enarx_deploy.project import Project
from enarx_deploy.protocols import Challenge
from enarx_deploy.records import digest_of
from enarx_deploy.testing.keep import started
from enarx_deploy.testing.programs import packaged
from enarx_steward import policy as policies
from enarx_steward.acceptance import accept
from enarx_steward.appraiser import Appraiser
from enarx_steward.ca import Authority
from enarx_steward.errors import Refused
from enarx_steward.issuance import Steward
from enarx_steward.root import Root

AUDIENCE = "https://steward.example.org"
POLICY = b'[ca]\ntrust_domain = "example.org"\n\n[nil]\nany_workload = true\nnames = ["localhost"]\n'
MANIFEST = b"""\
[resources]
memory = "1 MiB"
connections = 64
time = 600

[[files]]
kind = "listen"
name = "echo"
prot = "tls"
port = 0
"""
ECHO = """(module
  (import "wasi_snapshot_preview1" "sock_accept" (func $accept (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\\40\\00\\00\\00\\05\\00\\00\\00")
  (func (export "_start")
    (drop (call $accept (i32.const 0) (i32.const 0) (i32.const 16)))
    (drop (call $read (i32.load (i32.const 16)) (i32.const 0) (i32.const 1) (i32.const 20)))
    (drop (call $write (i32.load (i32.const 16)) (i32.const 0) (i32.const 1) (i32.const 20)))))"""
PATIENCE = 60.0


def echo(folder: Path, text: str = ECHO, manifest: bytes = MANIFEST):
    """A package of a program that echoes five bytes, over TLS."""
    from wasmtime import wat2wasm

    data = bytes(wat2wasm(text))
    folder.mkdir()
    (folder / "main.wasm").write_bytes(data)
    module = Module(
        path=str(folder / "main.wasm"),
        sha256=digest_of(data),
        size=len(data),
        entry="_start",
        imports=[],
        toolchain="",
        version="",
    )
    own = parse(manifest, "Enarx.toml").manifest
    return build(Project(folder, own, None, manifest), module), own


class Store:
    """The Steward's own collateral."""

    def __init__(self, intel) -> None:
        now = datetime.now(UTC)
        dates = {"issueDate": now - timedelta(days=2), "nextUpdate": now + timedelta(days=20)}
        texts = {name: date.strftime("%Y-%m-%dT%H:%M:%SZ") for name, date in dates.items()}
        signed = {"tcb_info": intel.tcb_info("SGX", **texts), "qe_identity": intel.identity("SGX", **texts)}
        self.collateral = read_collateral(intel.collateral("SGX", **signed))

    def find(self, _evidence, _at, *, revocation):
        assert revocation == "require"
        return self.collateral


@pytest.fixture
def steward(intel):
    """A Steward under a root of the test, which accepts what these reference values say."""
    now = datetime.now(UTC)

    def make(values) -> tuple[Steward, Root]:
        accepted = policies.parse(accept(POLICY, values.policy, ["localhost"]))
        root = Root.create(now)
        appraiser = Appraiser(intel.anchors, Store(intel))
        authority = Authority.create(root, accepted, now)
        return Steward(authority, accepted, audience=AUDIENCE, clock=lambda: now, appraiser=appraiser), root

    return make


@pytest.fixture
def keep():
    """Starts Keeps, which end with the test."""
    with ExitStack() as opened, Path(os.devnull).open("r+b") as nothing:
        stdio = Stdio(nothing.fileno(), nothing.fileno(), nothing.fileno(), complaints=2)

        def start(package, manifest, backend) -> Session:
            session = Session(package, manifest, backend, stdio)
            opened.callback(session.kill)
            session.start()
            return session

        yield start


def certified(session: Session, steward: Steward, package: str):
    nonce = steward.challenge().nonce
    request = session.certify(Challenge(nonce=nonce, audience=AUDIENCE))
    return steward.certify(
        request=request.csr,
        nonce=nonce,
        kind=request.evidence_kind,
        evidence=request.evidence,
        package=package,
        endorsements={},
    )


def test_it_serves_by_tls_under_a_certificate_for_its_enclave_and_the_workload_runs(
    backend, quoting, steward, keep, tmp_path
):
    package, manifest = echo(tmp_path / "package")
    accepting, root = steward(backend.measure(package))
    session = keep(package, manifest, backend)
    assert session.needs_certificate
    found = certified(session, accepting, package.digest)
    checks = {check.id: check for check in found.appraisal.checks}
    assert checks["sgx.policy.workload"].ok
    session.install(found.chain, found.chain[-1])
    of_gramine = 2  # its own beside the program's: for messages between processes, and for what is done later
    assert len(list(Path(f"/proc/{session.keep_pid}/task").iterdir())) + of_gramine <= gramine.THREADS
    context = ssl.create_default_context(cadata=root.pem)
    (endpoint,) = session.endpoints
    with (
        socket.create_connection(("localhost", endpoint.port), timeout=PATIENCE) as connection,
        context.wrap_socket(connection, server_hostname="localhost") as client,
    ):
        client.sendall(b"hello")
        assert client.recv(5) == b"hello"
    assert session.wait().exit_status == 0
    assert list((tmp_path / "cache/enclaves").iterdir()) == []


def test_a_changed_byte_of_the_workload_is_refused_by_the_enclave_that_it_makes(
    backend, quoting, steward, keep, tmp_path
):
    accepted, _ = echo(tmp_path / "accepted")
    values = backend.measure(accepted)
    accepting, _ = steward(values)
    package, manifest = echo(tmp_path / "package", ECHO.replace('"\\40', '"\\41'))
    session = keep(package, manifest, backend)
    with pytest.raises(Refused) as caught:
        certified(session, accepting, package.digest)
    failed = {check.id: check for check in caught.value.checks if not check.ok}
    wanted, found = (one.measurements["MRENCLAVE"] for one in (values, backend.measure(package)))
    assert wanted in str(failed["sgx.policy.workload"].expected)
    assert found in str(failed["sgx.policy.workload"].actual)
    assert package.digest in str(failed["binding.packages"].actual)


def test_a_keep_runs_no_package_but_the_one_that_was_measured(backend, quoting, keep, tmp_path):
    """Its host starts the enclave of one package, and sends another."""

    class Exchanging(sgx.Sgx):
        def start(self, launch):
            return super().start(msgspec.structs.replace(launch, package_digest="sha256:" + "ab" * 32))

    package, manifest = packaged("greet", tmp_path)
    with pytest.raises(KeepError, match=f"measured for sha256:{'ab' * 32}"):
        keep(package, manifest, Exchanging(backend.machine))


def test_compiled_code_is_measured_and_no_other_is_run(backend, quoting, keep, tmp_path, monkeypatch):
    package, manifest = packaged("greet", tmp_path)
    measured = backend.measure(package).measurements["MRENCLAVE"]
    code = compiling.code_of(compiling.of_package(package), compiling.ENCLAVE)
    monkeypatch.setattr(compiling, "code_of", lambda *_: code[:-1] + bytes([code[-1] ^ 1]))
    assert backend.measure(package).measurements["MRENCLAVE"] != measured
    monkeypatch.setattr(compiling, "code_of", lambda *_: b"")  # compiled in the Keep then
    assert backend.measure(package).measurements["MRENCLAVE"] != measured
    assert keep(package, manifest, backend).wait().kind == "exit"


def test_code_for_enclaves_is_the_same_whenever_it_is_made(backend, tmp_path, monkeypatch):
    """A reference value is worked out on another machine than the Keep's."""
    package, _ = packaged("greet", tmp_path)
    first = backend.measure(package)
    monkeypatch.setenv("ENARX_DEPLOY_CACHE_DIR", str(tmp_path / "another"))
    again = compiling.code_of(compiling.of_package(package), compiling.ENCLAVE)
    monkeypatch.setenv("ENARX_DEPLOY_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(compiling, "code_of", lambda *_: again)
    assert backend.measure(package) == first


@pytest.mark.parametrize("changed", ["usr/lib/keep/enarx_keep/life.pyc", "module.cwasm"])
def test_a_file_that_is_changed_behind_its_manifest_is_not_in_the_enclave(
    backend, quoting, keep, tmp_path, monkeypatch, changed
):
    package, manifest = packaged("greet", tmp_path)
    whole = sgx.Made.files

    def files(self, key):
        made = whole(self, key)
        place = f"root/{changed}"
        return {**made, place: made[place][:-1] + bytes([made[place][-1] ^ 1])}

    monkeypatch.setattr(sgx.Made, "files", files)
    with pytest.raises(KeepError, match=f"{changed} does not have the hash"):
        keep(package, manifest, backend)
    assert list((tmp_path / "cache/enclaves").iterdir()) == []


def test_an_enclave_that_does_not_measure_to_what_was_signed_does_not_start(
    backend, quoting, keep, tmp_path, monkeypatch
):
    package, manifest = packaged("greet", tmp_path)
    whole = sgx.Made.files

    def files(self, key):
        self.measured = bytes(32)
        return whole(self, key)

    monkeypatch.setattr(sgx.Made, "files", files)
    with pytest.raises(KeepError, match="EINIT"):
        keep(package, manifest, backend)


def test_without_a_quote_there_is_no_certificate_and_the_reason_is_told(backend, keep, attestation, tmp_path):
    package, manifest = echo(tmp_path / "package")
    (attestation / "attestation_type").write_text("none\n")
    with pytest.raises(KeepError, match="remote_attestation"):
        keep(package, manifest, backend)


def test_a_limit_that_gramine_cannot_keep_is_refused_before_anything_starts(backend, tmp_path):
    package, _ = echo(tmp_path / "package", manifest=MANIFEST.replace(b"[resources]", b"[resources]\ncpu_time = 5"))
    with pytest.raises(KeepError, match="cpu_time") as caught:
        backend.measure(package)
    assert "`time`" in caught.value.hint


def test_it_is_taken_before_what_has_no_hardware_and_after_whole_machines():
    """Where none is named, and for the minimum of an environment."""
    assert Nil().strength < Kvm().strength < sgx.Sgx().strength < Snp().strength


def test_without_the_owners_key_nothing_is_measured_or_started(backend, tmp_path):
    package, _ = packaged("greet", tmp_path)
    (tmp_path / "state" / sgx.KEY).unlink()
    (missing,) = [check for check in backend.probe().checks if not check.ok]
    assert missing.name == "signing key"
    with pytest.raises(KeepError, match="key that signs enclaves") as caught:
        backend.measure(package)
    assert "key sgx create --out" in caught.value.hint


def test_an_enclave_ends_with_its_host(backend, quoting, tmp_path):
    """However that ends: its standard input is at its end then."""
    program = (
        "import os, sys\nfrom pathlib import Path\nfrom enarx_backends.sgx import Sgx\n"
        "from enarx_deploy.machine import Machine\nfrom enarx_deploy.testing.keep import started\n"
        "with started(Sgx(Machine(Path(sys.argv[1]))), 'wait', Path(sys.argv[2]), 60.0) as keep:\n"
        "    print(keep.pid, flush=True)\n    os.kill(os.getpid(), 9)\n"
    )
    killed = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "host"), str(tmp_path)], capture_output=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    place = Path("/proc") / killed.stdout.decode().strip() / "cmdline"
    until = time.monotonic() + PATIENCE
    while place.exists() and b"enclave.py" in place.read_bytes():
        assert time.monotonic() < until, "the enclave outlives its host"
        time.sleep(0.05)
    with started(backend, "greet", tmp_path, PATIENCE) as keep:
        assert keep.ends().kind == "exit"
        assert list((tmp_path / "cache/enclaves").iterdir()) == []  # what the killed one left, too

"""A Steward as a process of its own, and a Keep's part of the protocol in Python."""

from __future__ import annotations

import base64
import contextlib
import importlib.util
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from enarx_attestation import report_data

NIL = "1.3.6.1.4.1.58270.1.1"
PACKAGE = "sha256:" + "ab" * 32

POLICY = """\
[ca]
trust_domain = "example.org"

[nil]
any_workload = true
legacy_binding = true
names = ["localhost", "keep.example.org", "127.0.0.1", "::1"]
lifetime = "2h"
"""


@dataclass
class Keep:
    """What the Keep does: a key of its own, a request with the empty marking, evidence that answers a challenge."""

    package: str = PACKAGE
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def spki(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def request(
        self,
        *,
        marking: bytes | None = b"",
        oid: str = NIL,
        critical: bool = False,
        subject: str = "",
        more: list[x509.ExtensionType] | None = None,
        hash_=None,
    ) -> bytes:
        """A certificate request; the arguments make it a bad one."""
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)] if subject else [])
        builder = x509.CertificateSigningRequestBuilder().subject_name(name)
        if marking is not None:
            extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), marking)
            builder = builder.add_extension(extension, critical)
        for extension in more or []:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(self.key, hash_ or SHA256()).public_bytes(Encoding.DER)

    def evidence(self, nonce: bytes, audience: str, /, **changes: object) -> bytes:
        """The nil document; `changes` are fields of the binding that it should not have."""
        fields = {"purpose": "tls-server", "nonce": nonce, "spki": self.spki, "package": self.package}
        data = report_data(**(fields | {"audience": audience} | changes))
        return f'{{"kind":"nil","package":"{self.package}","report_data":"{data.hex()}"}}'.encode()


@dataclass
class Client:
    """Talks to a Steward."""

    url: str
    http: httpx.Client

    @property
    def audience(self) -> str:
        return self.info()["audience"]

    def info(self) -> dict:
        return self.http.get(f"{self.url}/v1/info").raise_for_status().json()

    def nonce(self) -> bytes:
        return base64.b64decode(self.http.post(f"{self.url}/v1/nonce").raise_for_status().json()["nonce"])

    def ask(self, csr: bytes, nonce: bytes, evidence: bytes, kind: str = "nil") -> httpx.Response:
        body = {
            "csr": base64.b64encode(csr).decode(),
            "nonce": base64.b64encode(nonce).decode(),
            "evidence": {"kind": kind, "data": base64.b64encode(evidence).decode()},
        }
        return self.http.post(f"{self.url}/v1/certificate", json=body)

    def certify(self, keep: Keep) -> list[x509.Certificate]:
        """The whole of it, as a Keep goes through it; leaf first."""
        nonce = self.nonce()
        answer = self.ask(keep.request(), nonce, keep.evidence(nonce, self.audience)).raise_for_status().json()
        return [x509.load_der_x509_certificate(base64.b64decode(der)) for der in answer["chain"]]

    def enarx(self, body: bytes, content_type: str | None = "application/pkcs10") -> httpx.Response:
        headers = {} if content_type is None else {"Content-Type": content_type}
        return self.http.post(self.url, content=body, headers=headers)


@dataclass
class Process:
    """A Steward that runs, and what it has said."""

    process: subprocess.Popen
    state: Path
    client: Client

    @property
    def root(self) -> Path:
        return self.state / "root.pem"

    def end(self) -> int:
        """Ask it to end; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout=120)
        self.process.stdout.close()
        self.process.stderr.close()
        return status


def processes(state: str = "RSDT") -> dict[int, int]:
    """Processes in one of these states, with their parents. The kernel's own list of children may leave some out."""
    found = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            its, parent, *_ = status.read_text().rpartition(")")[2].split()
            if its in state:
                found[int(status.parent.name)] = int(parent)
    return found


POSTGRESQL = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))


class Cluster:
    """A PostgreSQL of its own, reached by a Unix socket alone unless there is an address where others reach it.

    It refuses to run as root, so another user runs it.
    """

    def __init__(self, place: Path, address: str = "") -> None:
        self.place = place
        self._address = address
        self._as = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
        if self._as:
            shutil.chown(place, "postgres", "postgres")
        self._run("initdb", "--auth=trust", "--username=steward", "--encoding=UTF8", str(place / "data"))
        if address:
            with (place / "data/pg_hba.conf").open("a") as rules:
                rules.write("host all all 0.0.0.0/0 scram-sha-256\n")
        self._process: subprocess.Popen | None = None
        self.start()

    def start(self) -> None:
        words = ["-D", str(self.place / "data"), "-k", str(self.place), "-c", f"listen_addresses={self._address}"]
        deadline = time.monotonic() + 120  # after a kill, it first has the disk write all of its files
        while True:
            self._process = subprocess.Popen(
                [*self._as, str(POSTGRESQL[-1] / "postgres"), *words],
                cwd=self.place,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            while self._process.poll() is None and time.monotonic() < deadline:
                if self.sql("SELECT 1", check=False).returncode == 0:
                    return
                time.sleep(0.05)
            # After a kill, the memory of the dead one's children is still in use for a moment.
            assert time.monotonic() < deadline, "PostgreSQL does not start"
            time.sleep(0.2)

    def kill(self) -> None:
        """End it and all its processes without a word."""
        for pid in self.freeze():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait(timeout=120)

    def freeze(self) -> list[int]:
        """Have it and all its processes stand still: connections stay, and nobody answers. Returns their numbers."""
        os.kill(self._process.pid, signal.SIGSTOP)  # first, so that it has no more of them
        while self._process.pid not in processes(state="T"):
            time.sleep(0.01)
        frozen = [pid for pid, parent in processes().items() if parent == self._process.pid]
        for pid in frozen:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        return [*frozen, self._process.pid]

    def thaw(self, frozen: list[int]) -> None:
        for pid in frozen:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def stop(self) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.wait(timeout=120)

    def url(self, database: str, user: str = "steward") -> str:
        return f"postgresql://{user}@/{database}?host={self.place}"

    def sql(self, *statements: str, database: str = "postgres", check: bool = True) -> subprocess.CompletedProcess:
        """Let psql run statements as the owner; its output is the values, a row a line."""
        words = [word for statement in statements for word in ("-c", statement)]
        return subprocess.run(
            ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", str(self.place), "-U", "steward", "-d", database, *words],
            capture_output=True,
            text=True,
            check=check,
        )

    def _run(self, tool: str, *words: str) -> None:
        subprocess.run([*self._as, str(POSTGRESQL[-1] / tool), *words], check=True, capture_output=True, cwd=self.place)


@contextlib.contextmanager
def running_cluster(address: str = ""):
    if not POSTGRESQL or shutil.which("psql") is None:
        pytest.skip("PostgreSQL is not installed")
    with tempfile.TemporaryDirectory(prefix="pg.", ignore_cleanup_errors=True) as place:
        running = Cluster(Path(place), address)
        yield running
        running.stop()


@pytest.fixture(scope="session")
def cluster():
    """A running PostgreSQL."""
    with running_cluster() as running:
        yield running


@pytest.fixture
def own_cluster():
    """A PostgreSQL for a test that ends or stops it."""
    with running_cluster() as running:
        yield running


@pytest.fixture
def postgresql(cluster, request):
    """The name of an empty database of its own."""
    name = f"db{next(_number)}"
    cluster.sql(f"CREATE DATABASE {name}")
    return name


_number = itertools.count()


@pytest.fixture(scope="session")
def http():
    with httpx.Client(trust_env=False, timeout=120) as client:
        yield client


def _vendors():
    """The vendors in miniature of the library's own tests."""
    path = Path(__file__).parent.parent / "attestation" / "conftest.py"
    spec = importlib.util.spec_from_file_location("vendors_in_miniature", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


VENDORS = _vendors()


@pytest.fixture(scope="session")
def amd():
    """AMD in miniature."""
    return VENDORS.Amd()


@pytest.fixture(scope="session")
def intel():
    """Intel in miniature."""
    return VENDORS.Intel()


@pytest.fixture
def keep():
    """A new Keep."""
    return Keep()


@pytest.fixture
def make_keep():
    """More of them."""
    return Keep


def make_state(directory: Path) -> Path:
    directory.mkdir(mode=0o700)
    (directory / "steward.toml").write_text(POLICY)
    (directory / "steward.toml").chmod(0o600)
    return directory


def launch(directory: Path, http: httpx.Client, *options: str, environment: dict[str, str] | None = None) -> Process:
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "enarx_steward", "--state", str(directory), *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=directory.parent,
        env={name: os.environ[name] for name in ("PATH", "PYTHONPATH", "HOME") if name in os.environ}
        | (environment or {}),
    )
    line = process.stdout.readline()
    found = re.match(r"Steward at (\S+), root", line)
    assert found, line + process.communicate()[1]
    return Process(process, directory, Client(found[1], http))


@pytest.fixture
def state(tmp_path):
    """A state directory with a policy in it."""
    return make_state(tmp_path / "state")


@pytest.fixture
def start(state, http):
    """Start a Steward with this policy and these options; it is asked to end after the test."""
    started: list[Process] = []

    def start(*options: str, policy: str | None = None, directory: Path = state) -> Process:
        if policy is not None:
            (directory / "steward.toml").write_text(policy)
        started.append(launch(directory, http, *options))
        return started[-1]

    yield start
    for running in started:
        if running.process.poll() is None:
            assert running.end() == 0


@pytest.fixture(scope="module")
def steward(tmp_path_factory, http):
    """A Steward that accepts nil Keeps; one for all tests of a module."""
    running = launch(make_state(tmp_path_factory.mktemp("steward") / "state"), http)
    yield running.client
    assert running.end() == 0


@pytest.fixture
def run(state):
    """Run a Steward that is not expected to start."""

    def run(*options: str, directory: Path = state) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-W", "error", "-m", "enarx_steward", "--state", str(directory), *options],
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run

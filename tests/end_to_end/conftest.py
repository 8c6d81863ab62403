"""Fixtures: services that `up` starts, programs that `run` runs, and TLS clients and servers to meet them."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PATIENCE = 120.0
"""Seconds after which a test gives up waiting for anything."""

NO_LOOKS = "[deploy.default.local.health]\ninterval = 0\n"
"""Of a Keep whose connections are counted: each look at its health would be one, too."""

STDIO = "".join(f'[[files]]\nkind = "{kind}"\n' for kind in ("stdin", "stdout", "stderr"))


def eventually(holds: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """Wait until `holds()` answers something true, and answer it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := holds():
            return answer
        time.sleep(0.02)
    raise AssertionError(f"waited {seconds} s in vain: {what}")


@pytest.fixture(scope="session", name="eventually")
def _eventually() -> Callable[..., Any]:
    return eventually


@pytest.fixture
def cli(enarx_deploy: Any, shared_cache: Path, zig_cache: Path) -> Any:
    """`enarx-deploy` with a state directory of its own, and caches that are kept."""
    enarx_deploy.environment["ENARX_DEPLOY_CACHE_DIR"] = str(shared_cache)
    enarx_deploy.environment["ZIG_GLOBAL_CACHE_DIR"] = str(zig_cache)
    return enarx_deploy


@dataclass
class Service:
    """A project that `up` has started, and what `up --json` said of it."""

    cli: Any
    project: Path
    record: dict[str, Any]

    @property
    def id(self) -> str:
        return self.record["deployment"]["id"]

    @property
    def port(self) -> int:
        return self.record["endpoints"][0]["port"]

    @property
    def root(self) -> Path:
        return Path(self.record["steward"]["root_pem_path"])

    @property
    def state(self) -> Path:
        """The Keep's directory."""
        return Path(self.cli.environment["ENARX_DEPLOY_STATE_DIR"]) / "keeps" / self.id

    def status(self) -> dict[str, Any]:
        """What `keeps` says of it."""
        (status,) = [keep for keep in self.keeps() if keep["id"] == self.id]
        return status

    def keeps(self) -> list[dict[str, Any]]:
        listed = self.cli("keeps", "--json")
        assert listed.returncode == 0, listed.stderr
        return json.loads(listed.stdout)

    @property
    def noted_state(self) -> str:
        """Its state as its host process has noted it: quicker than a command."""
        return json.loads((self.state / "state.json").read_bytes())["state"]

    @property
    def host_pid(self) -> int:
        """The host process."""
        return self.status()["pid"]

    @property
    def keep_pid(self) -> int:
        """The Keep: the host process's only child."""
        (child,) = children(self.host_pid)
        return child

    def context(self, root: Path | None = None) -> ssl.SSLContext:
        """A client that trusts the Steward's root, or another."""
        return ssl.create_default_context(cafile=root or self.root)

    def connect(self, context: ssl.SSLContext | None = None, timeout: float = PATIENCE) -> ssl.SSLSocket:
        """A TLS connection."""
        plain = socket.create_connection(("localhost", self.port), timeout=timeout)
        try:
            return (context or self.context()).wrap_socket(
                plain, server_hostname="localhost", suppress_ragged_eofs=False
            )
        except BaseException:
            plain.close()
            raise

    def echoes(self, data: bytes = b"is anybody there?\n") -> bool:
        """Whether a new client gets its bytes back."""
        with self.connect() as client:
            client.sendall(data)
            return read_exactly(client, len(data)) == data

    def counters(self) -> dict[str, int]:
        """What the host process counts."""
        from enarx_deploy.host import requests

        return requests.ask(self.state, {"do": "counters"})


def refuses(port: int) -> bool:
    """Whether nobody new is let in at a port of this machine."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE).close()
    except OSError:
        return True
    return False


def children(pid: int) -> list[int]:
    """The child processes of all threads of a process."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended since
            found += map(int, (task / "children").read_text().split())
    return found


def read_exactly(connection: socket.socket, size: int) -> bytes:
    """As many bytes, or fewer if the connection ends before."""
    data = bytearray()
    while len(data) < size and (piece := connection.recv(min(65536, size - len(data)))):
        data += piece
    return bytes(data)


@pytest.fixture(scope="session", name="read_exactly")
def _read_exactly() -> Callable[..., bytes]:
    return read_exactly


@pytest.fixture(scope="session", name="children")
def _children() -> Callable[..., list[int]]:
    return children


@pytest.fixture(scope="session")
def echo_module(request: pytest.FixtureRequest, zig_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The echo template's program, built once for each state of its source."""
    import hashlib

    from enarx_deploy.project import load_project
    from enarx_languages.c import C

    template = ROOT / "templates" / "echo"
    toolchain = C()
    tool = toolchain.find()
    state = hashlib.sha256(f"{tool}".encode() + (template / "main.c").read_bytes()).hexdigest()[:16]
    module = Path(request.config.cache.mkdir("wasm_programs")) / f"template-echo-{state}.wasm"
    if not module.exists():
        folder = tmp_path_factory.mktemp("echo")
        shutil.copy(template / "main.c", folder)
        project = load_project(folder)
        project.work_dir.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ZIG_GLOBAL_CACHE_DIR", str(zig_cache))
            toolchain.build(project, tool, folder / "main.wasm", print)
        (folder / "main.wasm").replace(module)
    return module


@pytest.fixture
def echo_project(cli: Any, echo_module: Path) -> Callable[..., Path]:
    """A project of the echo program as built, in its own folder, on any free port."""

    def make(name: str = "echo", extra: str = "", prot: str = "tls", port: int = 0) -> Path:
        return write_echo(cli.directory / name, echo_module, extra, prot, port)

    return make


def write_echo(folder: Path, module: Path, extra: str = "", prot: str = "tls", port: int = 0) -> Path:
    """A project of the echo program."""
    folder.mkdir()
    shutil.copy(module, folder / "main.wasm")
    listen = f'[[files]]\nkind = "listen"\nname = "echo"\nprot = "{prot}"\nport = {port}\n'
    (folder / "Enarx.toml").write_text(f"{STDIO}{listen}{extra}")
    return folder


@pytest.fixture
def up(cli: Any) -> Callable[..., Service]:
    """`up` in a project's folder."""

    def start(project: Path, *words: str) -> Service:
        done = cli("up", "--json", "-C", str(project), *words)
        assert done.returncode == 0, done.stderr
        return Service(cli, project, json.loads(done.stdout))

    return start


@pytest.fixture
def service(up: Callable[..., Service], echo_project: Callable[..., Path]) -> Callable[..., Service]:
    """An echo service that runs; the arguments are those of `echo_project`."""
    return lambda **how: up(echo_project(**how))


@pytest.fixture
def patient(cli: Any, tmp_path: Path) -> None:
    """Host processes give who is connected ten minutes to finish: no test is to depend on the machine's pace."""
    place = tmp_path / "patient"
    place.mkdir()
    (place / "sitecustomize.py").write_text("from enarx_deploy.host import session\nsession.DEFAULT_GRACE = 600.0\n")
    cli.environment["PYTHONPATH"] = f"{place}:{cli.environment.get('PYTHONPATH', '')}".rstrip(":")


@dataclass
class Ran:
    """How a program ended: exit status, standard output, standard error."""

    status: int
    out: bytes
    err: str


@dataclass
class Runner:
    """`enarx-deploy run`, with bytes in and out."""

    cli: Any
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __call__(self, *words: str | Path, stdin: bytes = b"", timeout: float = 400) -> Ran:
        """Run to the end; a large module is compiled first."""
        process = self.start(*words)
        out, err = process.communicate(stdin, timeout=timeout)
        return Ran(process.returncode, out, err.decode(errors="replace"))

    def start(self, *words: str | Path, **how: Any) -> subprocess.Popen[bytes]:
        """Start, with pipes; `how` goes to Popen."""
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(
            [sys.executable, "-m", "enarx_deploy", "run", *map(str, words)],
            cwd=self.cli.directory,
            env=self.cli.environment,
            **(pipes | how),
        )
        self.started.append(process)
        return process


@pytest.fixture
def run(cli: Any) -> Iterator[Runner]:
    """`enarx-deploy run`."""
    runner = Runner(cli)
    yield runner
    for process in runner.started:
        process.kill()
        with process:
            pass


@dataclass(frozen=True)
class Authority:
    """A certificate authority and a server's certificate for localhost, as PEM files."""

    root: Path
    certificate: Path
    key: Path

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Authority]:
    """A certificate authority that has nothing to do with any Steward, by its name."""
    made: dict[str, Authority] = {}

    def make(name: str) -> Authority:
        if name not in made:
            made[name] = _authority(name, tmp_path_factory.mktemp(name))
        return made[name]

    return make


def _authority(name: str, folder: Path) -> Authority:
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    now = datetime.datetime.now(datetime.UTC)
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())

    def named(common_name: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])

    def begin(subject: str, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder(named(name), named(subject), public, x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False)
        )

    usage = dict.fromkeys(
        [
            *("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only"),
            *("decipher_only", "digital_signature", "key_cert_sign", "crl_sign"),
        ],
        False,
    )
    root = (
        begin(name, root_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(**(usage | {"key_cert_sign": True})), critical=True)
        .sign(root_key, hashes.SHA256())
    )
    leaf = (
        begin("localhost", key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**(usage | {"digital_signature": True})), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    made = Authority(folder / "root.pem", folder / "leaf.pem", folder / "leaf.key")
    pem = serialization.Encoding.PEM
    made.root.write_bytes(root.public_bytes(pem))
    made.certificate.write_bytes(leaf.public_bytes(pem))
    made.key.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return made


@dataclass
class Server:
    """A listening socket and what is done with each connection, one after the other, until the test ends."""

    listener: socket.socket
    faults: list[BaseException]
    context: ssl.SSLContext | None

    @property
    def port(self) -> int:
        return self.listener.getsockname()[1]

    def serve(self, handle: Callable[[socket.socket], None]) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(PATIENCE)
                try:
                    if self.context is None:
                        handle(connection)
                    else:
                        with self.context.wrap_socket(connection, server_side=True) as secure:
                            handle(secure)
                except (OSError, AssertionError) as fault:
                    self.faults.append(fault)


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Serve on a free port of this machine, by TLS if a context is given; `faults` is what went wrong on the way."""
    with contextlib.ExitStack() as stack:

        def start(handle: Callable[[socket.socket], None], context: ssl.SSLContext | None = None) -> Server:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            server = Server(listener, [], context)
            thread = threading.Thread(target=server.serve, args=(handle,), daemon=True)
            thread.start()
            stack.callback(thread.join, PATIENCE)
            stack.callback(lambda: listener.shutdown(socket.SHUT_RDWR))
            return server

        yield start

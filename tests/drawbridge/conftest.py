"""A Drawbridge server and an OpenID Connect provider, each a process of its own, and what is put into the one."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from enarx_attestation.claims_extension import KeepClaims
from enarx_drawbridge import content_digest
from enarx_drawbridge.directory_form import DIRECTORY_TYPE, Entry, directory_json, entry_of, media_type
from enarx_drawbridge.reading import ENTRY_TYPE
from enarx_steward import policy as steward_policy
from enarx_steward import tls
from enarx_steward.ca import Authority, Leaf
from enarx_steward.grants import Grant
from enarx_steward.root import Root, key_pem

NOW = datetime.now(UTC)
AUDIENCE = "https://drawbridge.example.org"
SUBJECT = "test|subject"
LOCALHOST = Grant(dns_names=("localhost",), addresses=(), lifetime=timedelta())
ALL_SCOPES = "manage:drawbridge_users manage:drawbridge_repositories manage:drawbridge_tags"
STEWARD_POLICY = '[ca]\ntrust_domain = "example.org"\n[nil]\nany_workload = true\nnames = ["localhost"]\n'
WASM = b"\0asm\1\0\0\0" + b"a module, for all that a registry knows" * 100


@dataclass
class Provider:
    """An OpenID Connect provider that runs."""

    issuer: str
    key: rsa.RSAPrivateKey

    def token(
        self, subject: str = SUBJECT, scope: object = ALL_SCOPES, *, key=None, alg="RS256", kid="test", **changes
    ):
        """A token; the arguments make it a bad one. A claim of None is left out."""
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": AUDIENCE, "sub": subject, "iat": now, "exp": now + 600, "scope": scope}
        claims = {name: value for name, value in (claims | changes).items() if value is not None}
        return jwt.encode(claims, key or self.key, algorithm=alg, headers={"kid": kid})


@pytest.fixture(scope="session")
def provider(tmp_path_factory) -> Iterator[Provider]:
    """One for all tests."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    path = tmp_path_factory.mktemp("oidc") / "key.pem"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("oidc_provider.py")), str(path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    yield Provider(process.stdout.readline().strip(), key)
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.fixture(scope="session")
def policy(provider) -> str:
    """A policy that believes the provider."""
    return f'[oidc]\nissuer = "{provider.issuer}"\naudience = "{AUDIENCE}"\n'


@dataclass
class Client:
    """Speaks to a server, as one user or as nobody."""

    http: httpx.Client
    url: str
    token: str = ""

    def headers(self, more: Mapping[str, str]) -> dict[str, str]:
        return ({"Authorization": f"Bearer {self.token}"} if self.token else {}) | dict(more)

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.http.get(f"{self.url}/api/v0.1.0/{path}", headers=self.headers(headers))

    def ask(self, method: str, path: str, **options) -> httpx.Response:
        return self.http.request(method, f"{self.url}/api/v0.1.0/{path}", headers=self.headers({}), **options)

    def put(self, path: str, body: bytes, content_type: str, **changes: str | None) -> httpx.Response:
        """Put a body with its true digest; `changes` are headers that it should not have, or lack."""
        headers = {
            "Content-Type": content_type,
            "Content-Digest": content_digest.render(entry_of(body, "").digest),
            "Content-Length": str(len(body)),
        } | {name.replace("_", "-"): value for name, value in changes.items()}
        given = {name: value for name, value in headers.items() if value is not None}
        return self.http.put(f"{self.url}/api/v0.1.0/{path}", content=body, headers=self.headers(given))

    def register(
        self, user: str = "testuser", repository: str = "hello", *, public: bool = True, subject: str = SUBJECT
    ):
        """A user with a repository."""
        import json

        assert self.put(user, json.dumps({"subject": subject}).encode(), "application/json").status_code in (200, 201)
        body = json.dumps({"public": public}).encode()
        assert self.put(f"{user}/{repository}", body, "application/json").status_code in (200, 201)

    def publish(self, package: Package, tag: str, where: str = "testuser/hello") -> list[httpx.Response]:
        """Nodes first, the tag last."""
        tree = f"{where}/_tag/{tag}/tree"
        answers = [self.put(f"{tree}/{path}", body, type_) for path, (body, type_) in package.nodes.items()]
        return [*answers, self.put(f"{where}/_tag/{tag}", package.tag, ENTRY_TYPE)]


@dataclass
class Package:
    """A package in Drawbridge's form: the root's entry, and every node by path, directories before what they list."""

    root: Entry
    nodes: dict[str, tuple[bytes, str]]

    @property
    def tag(self) -> bytes:
        """The body of a tag that names it."""
        import json

        entry = {"digest": self.root.digest, "length": self.root.length, "type": self.root.type}
        return json.dumps(entry, separators=(",", ":")).encode()


def make_package(
    files: Mapping[str, bytes], directory: Callable[[Mapping[str, Entry]], bytes] = directory_json
) -> Package:
    """A package with these files, by path."""
    nodes: dict[str, tuple[bytes, str]] = {}
    below: dict[str, dict[str, bytes]] = {}
    entries: dict[str, Entry] = {}
    for path, data in files.items():
        name, _, rest = path.partition("/")
        if rest:
            below.setdefault(name, {})[rest] = data
        else:
            nodes[name] = (data, media_type(name))
            entries[name] = entry_of(*nodes[name])
    for name, held in below.items():
        inner = make_package(held, directory)
        entries[name] = inner.root
        nodes |= {f"{name}/{path}".rstrip("/"): node for path, node in inner.nodes.items()}
    body = directory(entries)
    return Package(entry_of(body, DIRECTORY_TYPE), {"": (body, DIRECTORY_TYPE)} | nodes)


@dataclass
class Server:
    """A server that runs, and what it says."""

    process: subprocess.Popen
    store: Path
    url: str
    http: httpx.Client
    said: str = ""

    def client(self, token: str = "") -> Client:
        return Client(self.http, self.url, token)

    def end(self, how: int = signal.SIGTERM) -> int:
        """Ask it to end; its exit status."""
        self.http.close()
        if self.process.poll() is None:
            self.process.send_signal(how)
            _, self.said = self.process.communicate(timeout=120)
        return self.process.returncode

    def files(self) -> list[str]:
        """Names of all contents, and of all that is on its way."""
        return sorted(str(path.relative_to(self.store)) for path in self.store.glob("*/**/*") if path.is_file())


def launch(store: Path, *options: str, context: ssl.SSLContext | None = None, before: tuple[str, ...] = ()) -> Server:
    """Start a server from a store."""
    process = subprocess.Popen(
        [
            *before,
            sys.executable,
            "-W",
            "error",
            "-m",
            "enarx_drawbridge",
            "--store",
            str(store),
            "--listen",
            "127.0.0.1:0",
            *options,
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={name: os.environ[name] for name in ("PATH", "PYTHONPATH", "HOME") if name in os.environ},
    )
    line = process.stdout.readline()
    assert line.startswith("Drawbridge at "), line + process.communicate()[1]
    url = line.split()[2].rstrip(",").replace("127.0.0.1", "localhost" if context else "127.0.0.1")
    return Server(process, store, url, httpx.Client(trust_env=False, timeout=120, verify=context or False))


@pytest.fixture
def start(tmp_path, policy) -> Iterator[Callable[..., Server]]:
    """Start servers from one store; they are asked to end after the test."""
    started: list[Server] = []

    def start(*options: str, more: str = "", text: str | None = None, store: Path | None = None, **how) -> Server:
        place = store or tmp_path / "store"
        place.mkdir(mode=0o700, exist_ok=True)
        (place / "drawbridge.toml").write_text((policy if text is None else text) + more)
        started.append(launch(place, *options, **how))
        return started[-1]

    yield start
    for server in started:
        if server.process.poll() is None:
            assert server.end() == 0
        assert "Traceback" not in server.said


@pytest.fixture(scope="module")
def server(tmp_path_factory, policy) -> Iterator[Server]:
    """One for all tests of a module that do not look at the whole of it."""
    store = tmp_path_factory.mktemp("drawbridge") / "store"
    store.mkdir(mode=0o700)
    (store / "drawbridge.toml").write_text(policy)
    running = launch(store)
    yield running
    assert running.end() == 0
    assert "Traceback" not in running.said


@pytest.fixture(scope="module")
def owner(server, provider) -> Client:
    """The user `testuser`, with the public repository `hello` and the private one `secret`."""
    client = server.client(provider.token())
    client.register()
    client.register(repository="secret", public=False)
    return client


@dataclass
class StewardInMiniature:
    """A Steward's root and authority, and what it issues."""

    root: Root = field(default_factory=lambda: Root.create(NOW))

    def __post_init__(self) -> None:
        accepted = steward_policy.parse(STEWARD_POLICY.encode())
        self.authority = Authority.create(self.root, accepted, NOW)
        self.grant = accepted.grants["nil"]

    def certify(
        self, package: str | None, *, hardware: bool = False, trust_domain: str = "example.org", **changes
    ) -> bytes:
        """Key and chain (PEM) of a Keep that runs a package."""
        key = ec.generate_private_key(ec.SECP256R1())
        claims = KeepClaims(
            backend="snp" if hardware else "nil",
            hardware=hardware,
            status="UpToDate" if hardware else "Unprotected",
            package=package,
            evidence_sha256=None,
            report_data=None,
            nonce_bound=False,
            policy_sha256="0" * 64,
        )
        leaf = Leaf(key=key.public_key(), claims=claims, grant=self.grant, trust_domain=trust_domain)
        ders = [self.authority.issue(leaf, NOW), *self.authority.issuers[:1]]
        chain = [x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM) for der in ders]
        return key_pem(key) + b"".join(chain)

    def server_files(self, place: Path) -> tuple[str, ...]:
        """Options with which a server shows a certificate under the same root."""
        key, separator, chain = tls.issue(self.root, LOCALHOST, NOW).partition(b"-----BEGIN CERTIFICATE-----")
        (place / "server.key").write_bytes(key)
        (place / "server.key").chmod(0o600)
        (place / "server.pem").write_bytes(separator + chain)
        return "--tls-cert", str(place / "server.pem"), "--tls-key", str(place / "server.key")

    def context(self, certificate: bytes | None = None, place: Path | None = None) -> ssl.SSLContext:
        """For a client, which may show a certificate."""
        context = ssl.create_default_context(cadata=self.root.pem)
        if certificate is not None:
            path = place / f"{os.urandom(8).hex()}.pem"
            path.write_bytes(certificate)
            context.load_cert_chain(path)
        return context


@pytest.fixture(scope="session")
def steward() -> StewardInMiniature:
    """One for all tests."""
    return StewardInMiniature()


@pytest.fixture(scope="session")
def package() -> Package:
    """A package with an asset."""
    return make_package(
        {"main.wasm": WASM, "Enarx.toml": b'[[files]]\nkind = "stdin"\n', "assets/page.html": b"<p>hello"}
    )

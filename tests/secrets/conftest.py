"""A Steward that holds secrets, and Keeps that need them: processes, all of them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from enarx_backends.nil import Nil
from enarx_deploy.host import certification, releasing
from enarx_deploy.host.outcome import Outcome
from enarx_deploy.host.session import Release, Session, Stdio
from enarx_deploy.manifest import Manifest, parse
from enarx_deploy.models import Module, Package
from enarx_deploy.package_tree import build
from enarx_deploy.project import Project
from enarx_deploy.records import digest_of
from enarx_issuers.steward import Steward

TOKEN = b"token-61f0c4b7a2"
KEY = b"key-93d5e8807b\0\xff"
MANIFEST = """\
files = [{ kind = "stdin" }, { kind = "stdout" }, { kind = "stderr" }]
secrets = [{ name = "token", env = "TOKEN" }, { name = "key", file = "/secrets/key" }]
"""


@dataclass
class Vault:
    """A Steward's process, and what it is to release."""

    state: Path
    url: str
    process: subprocess.Popen[str]

    def release_to(self, package: str, *, kind: str = "nil") -> None:
        """Have its policy release both secrets to a package, and to no other."""
        kvm = '[kvm]\nany_workload = true\nnames = ["localhost"]\n'
        rules = "".join(
            f'[[secret]]\nname = "{name}"\nfile = "{self.state / name}"\nkinds = ["{kind}"]\npackages = ["{package}"]\n'
            for name in ("token", "key")
        )
        (self.state / "steward.toml").write_text(f"{POLICY}{kvm}{rules}")
        subprocess.run(
            [sys.executable, "-m", "enarx_deploy", "steward", "--reload", "--state", str(self.state)], check=True
        )


POLICY = '[ca]\ntrust_domain = "localhost"\n[nil]\nany_workload = true\nnames = ["localhost"]\n'


def start_steward(state: Path) -> Vault:
    state.mkdir(mode=0o700)
    for name, content in {"steward.toml": POLICY.encode(), "token": TOKEN, "key": KEY}.items():
        (state / name).write_bytes(content)
        (state / name).chmod(0o600)
    process = subprocess.Popen(
        [sys.executable, "-m", "enarx_steward", "--state", str(state)], stdout=subprocess.PIPE, text=True
    )
    said = process.stdout.readline()
    return Vault(state, said.split()[2].rstrip(","), process)


@pytest.fixture(scope="module")
def stewards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Vault]]:
    """Stewards by name, each with a root of its own."""
    place, started = tmp_path_factory.mktemp("stewards"), {}

    def start(name: str) -> Vault:
        if name not in started:
            started[name] = start_steward(place / name)
        return started[name]

    yield start
    for one in started.values():
        one.process.terminate()
        one.process.wait(timeout=120)
        one.process.stdout.close()


@pytest.fixture
def vault(stewards: Callable[[str], Vault]) -> Vault:
    """A Steward."""
    return stewards("vault")


@dataclass
class Keeper:
    """The host side of one Keep, which notes all that passes on the control stream."""

    package: Package
    project: Project
    manifest: Manifest
    output: Path
    release: Release | None = None
    relayed: bytearray = field(default_factory=bytearray)
    issuer: Steward = field(default_factory=Steward)
    session: Session | None = None

    def start(self) -> Session:
        """Start the Keep and note what its host process can see of the control stream, both ways."""
        out = os.open(self.output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        stdio = Stdio(stdin=os.open(os.devnull, os.O_RDONLY), stdout=out, stderr=2, complaints=2)
        self.session = session = Session(
            self.package, self.manifest, Nil(), stdio, release=self.release or self._honestly
        )
        session._keep._control = Noted(session._keep._control, self.relayed)
        session.start()
        assert session.needs_certificate
        return session

    def _honestly(self, session: Session, names):
        return releasing.release(session, self.issuer, self.project, names)

    def run(self) -> Outcome:
        """To the end."""
        session = self.start()
        certification.certify(session, self.issuer, self.project)
        return session.wait()


class Noted:
    """A socket, all of whose bytes are noted."""

    def __init__(self, inner, noted: bytearray) -> None:
        self._inner, self._noted = inner, noted

    def recv(self, size: int) -> bytes:
        got = self._inner.recv(size)
        self._noted += got
        return got

    def sendall(self, data: bytes) -> None:
        self._noted += data
        self._inner.sendall(data)

    def close(self) -> None:
        self._inner.close()


@pytest.fixture
def keeper(program, tmp_path: Path, monkeypatch, shared_cache, vault) -> Iterator[Callable[..., Keeper]]:
    """Make a Keep of the program that needs both secrets; `steward` is who the manifest names."""
    monkeypatch.setenv("ENARX_DEPLOY_CACHE_DIR", str(shared_cache))
    monkeypatch.setenv("ENARX_DEPLOY_STATE_DIR", str(tmp_path / "state"))
    wasm = program("secrets")
    data = wasm.read_bytes()
    made: list[Keeper] = []

    def make(steward: Vault = vault, release: Release | None = None, extra: str = "") -> Keeper:
        text = f'steward = "{steward.url}"\n{MANIFEST}{extra}'.encode()
        module = Module(
            path=str(wasm), sha256=digest_of(data), size=len(data), entry="_start", imports=[], toolchain="", version=""
        )
        folder = tmp_path / f"project{len(made)}"
        folder.mkdir()
        project = Project(folder, parse(text, "Enarx.toml").manifest, None, text)
        made.append(Keeper(build(project, module), project, project.manifest, folder / "out", release))
        return made[-1]

    yield make
    for one in made:
        if one.session is not None:
            one.session.kill()
            one.session.wait()

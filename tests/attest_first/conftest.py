"""A registry, a Steward and Keeps that fetch their package themselves: processes, all of them."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from enarx_backends.nil import Nil
from enarx_deploy.host import certification
from enarx_deploy.host.outcome import Outcome
from enarx_deploy.host.session import Session, Stdio
from enarx_deploy.manifest import parse
from enarx_deploy.models import Package, PackageSource
from enarx_deploy.project import Project
from enarx_issuers.steward import Steward

TESTS = Path(__file__).parents[1]


def fixtures_of(folder: str) -> ModuleType:
    """The fixtures of another folder of tests."""
    spec = importlib.util.spec_from_file_location(f"fixtures_of_{folder}", TESTS / folder / "conftest.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


END_TO_END, DRAWBRIDGE = fixtures_of("end_to_end"), fixtures_of("drawbridge")
cli, echo_module, serve = (getattr(END_TO_END, name) for name in ("cli", "echo_module", "serve"))
provider, policy = DRAWBRIDGE.provider, DRAWBRIDGE.policy
MARKER = os.urandom(24).hex().encode()
"""What is in the package and must be nowhere else."""
MANIFEST = b"""\
# %s
[[files]]
kind = "stdin"
[[files]]
kind = "stdout"
[[files]]
kind = "stderr"
[[files]]
kind = "listen"
name = "echo"
prot = "tls"
addr = "127.0.0.1"
port = %d
"""
STEWARD_POLICY = '[ca]\ntrust_domain = "localhost"\n[nil]\nany_workload = true\nnames = ["localhost"]\n'
REPOSITORY = "testuser/private"


@dataclass
class StewardProcess:
    """A Steward that runs."""

    state: Path
    url: str

    @property
    def root(self) -> Path:
        return self.state / "root.pem"

    def accept(self, more: str) -> None:
        """Put another policy in force."""
        (self.state / "steward.toml").write_text(STEWARD_POLICY + more)
        words = ["steward", "--reload", "--state", str(self.state)]
        subprocess.run([sys.executable, "-m", "enarx_deploy", *words], check=True, capture_output=True)


@pytest.fixture(scope="module")
def steward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StewardProcess]:
    """One for all tests of a module."""
    state = tmp_path_factory.mktemp("steward") / "state"
    state.mkdir(mode=0o700)
    (state / "steward.toml").write_text(STEWARD_POLICY)
    (state / "steward.toml").chmod(0o600)
    process = subprocess.Popen(
        [sys.executable, "-m", "enarx_steward", "--state", str(state)], stdout=subprocess.PIPE, text=True
    )
    url = re.match(r"Steward at (\S+), root", process.stdout.readline())[1]
    yield StewardProcess(state, url)
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=120)
    process.stdout.close()


@dataclass
class Registry:
    """A Drawbridge that runs, with a private repository of packages."""

    server: Any
    owner: Any
    roots: Path

    @property
    def port(self) -> int:
        return int(self.server.url.rpartition(":")[2])

    def publish(self, tag: str, files: dict[str, bytes]) -> str:
        """Publish a package; its digest."""
        package = DRAWBRIDGE.make_package(files)
        answers = self.owner.publish(package, tag, REPOSITORY)
        assert answers[-1].status_code in (200, 201), answers[-1].text
        return package.root.sha256

    def reference(self, tag: str, digest: str) -> str:
        return f"drawbridge://localhost:{self.port}/{REPOSITORY}:{tag}@{digest}"


@pytest.fixture(scope="module")
def registry(steward, provider, policy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """One for all tests of a module, which serves Keeps of the Steward. Its own TLS is under another root."""
    place = tmp_path_factory.mktemp("registry")
    store = place / "store"
    store.mkdir(mode=0o700)
    keeps = f'[keeps]\nroots = "{steward.root}"\ntrust_domain = "localhost"\nunprotected = true\n'
    (store / "drawbridge.toml").write_text(policy + keeps)
    authority = DRAWBRIDGE.StewardInMiniature()
    (place / "roots.pem").write_text(authority.root.pem)
    server = DRAWBRIDGE.launch(store, *authority.server_files(place), context=authority.context())
    owner = server.client(provider.token())
    owner.register(repository="private", public=False)
    yield Registry(server, owner, place / "roots.pem")
    assert server.end() == 0


@dataclass
class Keeper:
    """The host side of one Keep that fetches its package."""

    session: Session
    project: Project

    def run(self) -> Outcome:
        """Have it certified and wait for its end."""
        self.session.start()
        assert self.session.needs_certificate, "before its package is there"
        certification.certify(self.session, Steward(), self.project)
        return self.session.wait()


@pytest.fixture
def keeper(steward, tmp_path: Path, monkeypatch) -> Iterator[Callable[..., Keeper]]:
    """Make a Keep for a digest that fetches from a place."""
    monkeypatch.setenv("ENARX_DEPLOY_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("ENARX_DEPLOY_CACHE_DIR", str(tmp_path / "cache"))
    made: list[Keeper] = []

    def make(digest: str, port: int, roots: list[str], tag: str = "1.0.0") -> Keeper:
        text = f'steward = "{steward.url}"\n'.encode()
        project = Project(tmp_path, parse(text, "Enarx.toml").manifest, None, text)
        source = PackageSource(
            host="localhost", port=port, path=f"/api/v0.2.0/{REPOSITORY}/_tag/{tag}/tree", roots=roots
        )
        stdio = Stdio(stdin=os.open(os.devnull, os.O_RDONLY), stdout=1, stderr=2, complaints=2)
        package = Package(digest=digest, root="", size=0, files=[])
        made.append(Keeper(Session(package, project.manifest, Nil(), stdio, source=source), project))
        return made[-1]

    yield make
    for one in made:
        one.session.kill()
        one.session.wait()

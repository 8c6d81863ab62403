"""From a Keep in a pod of Kata Containers to a Steward's yes, and one difference to its no.

Keep, jail, host process, policy and Steward are the real ones. The guest is one of vendors in miniature behind
configfs-tsm: it measures to what Kata's guest would, and has the digest of the rendered init-data where the launcher
puts it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.steward.own_collateral import Store

from enarx_attestation.intel_collateral import read_collateral
from enarx_attestation.snp import read_collateral as read_amd
from enarx_backends.in_guest import InGuest
from enarx_deploy.host.session import Session, Stdio
from enarx_deploy.manifest import parse
from enarx_deploy.models import Module, Package
from enarx_deploy.package_tree import build
from enarx_deploy.project import Project
from enarx_deploy.protocols import Challenge
from enarx_deploy.records import digest_of
from enarx_keep.attester.machine import Machine
from enarx_kubernetes import desired, init_data
from enarx_kubernetes.manifests import pod
from enarx_kubernetes.settings import Settings
from enarx_steward import policy as policies
from enarx_steward.acceptance import accept
from enarx_steward.appraiser import Appraiser
from enarx_steward.ca import Authority
from enarx_steward.errors import Refused
from enarx_steward.issuance import Steward
from enarx_steward.root import Root

NOW = datetime(2026, 6, 1, tzinfo=UTC)
AUDIENCE = "https://steward.example.org"
POLICY = b'[ca]\ntrust_domain = "example.org"\n\n[nil]\nany_workload = true\nnames = ["localhost"]\n'
MANIFEST = f'steward = "{AUDIENCE}"\n[[files]]\nkind = "listen"\nname = "web"\nprot = "tls"\nport = 0\n'.encode()
IMAGE = f"registry.example/echo@sha256:{'a' * 64}"
KATA, ANOTHER = bytes(range(48)), bytes(48)
"""What a guest measures to: Kata's, as its owner worked it out, and something else."""


class Snp:
    """A node with SEV-SNP, of AMD in miniature."""

    kind, provider = "snp", "sev_guest"

    def __init__(self, vendor: Any) -> None:
        self.vendor = vendor
        self.collateral = read_amd(vendor.vek(vendor.extensions()).der, crls=[vendor.crl()])
        self.measured = {"measurements": [KATA.hex()]}

    def evidence(self, data: bytes, measurement: bytes, fixed: bytes) -> bytes:
        return bytes(self.vendor.report({0x50: data, 0x90: measurement, 0xC0: fixed}))


class Tdx:
    """A node with TDX, of Intel in miniature."""

    kind, provider = "tdx", "tdx_guest"

    def __init__(self, vendor: Any) -> None:
        self.vendor = vendor
        self.collateral = read_collateral(vendor.collateral("TDX"))
        self.measured = {"mrtds": [KATA.hex()]}

    def evidence(self, data: bytes, measurement: bytes, fixed: bytes) -> bytes:
        body = bytearray(self.vendor.domain())
        body[136:184] = measurement
        body[184:232] = fixed.ljust(48, b"\0")
        body[520:584] = data
        return bytes(self.vendor.quote("TDX", body=bytes(body)))


@dataclass
class Guest(Machine):
    """What a pod sees of the guest that it is in: configfs-tsm, with one entry at a time."""

    node: Any
    measurement: bytes
    fixed: bytes
    inblob: bytes = b""
    writes: int = 0
    asked: int = 0

    def has(self, path: str) -> bool:
        return not path.endswith(("privlevel_floor", "auxblob"))

    def make_directory(self, path: str) -> None:
        self.writes, self.inblob = 0, b""

    def remove_directory(self, path: str) -> None:
        """The kernel's to do."""

    def write(self, path: str, data: bytes) -> None:
        self.writes, self.inblob = self.writes + 1, data

    def read(self, path: str, limit: int) -> bytes:
        name = path.rpartition("/")[2]
        if name == "outblob":
            self.asked += 1
            return bytes(self.node.evidence(self.inblob, self.measurement, self.fixed))
        return {"generation": b"%d" % self.writes, "provider": self.node.provider.encode()}[name]


@pytest.fixture(params=["snp", "tdx"])
def node(request: pytest.FixtureRequest) -> Any:
    return Snp(request.getfixturevalue("amd")) if request.param == "snp" else Tdx(request.getfixturevalue("intel"))


@pytest.fixture
def package(program: Callable[[str], Path], tmp_path: Path) -> Package:
    wasm = program("echo")
    content = wasm.read_bytes()
    module = Module(
        path=str(wasm),
        sha256=digest_of(content),
        size=len(content),
        entry="_start",
        imports=[],
        toolchain="",
        version="",
    )
    return build(Project(tmp_path, parse(MANIFEST, "Enarx.toml").manifest, None, MANIFEST), module)


@pytest.fixture
def init_text(node: Any, package: Package) -> str:
    """The init-data of the pod, as it is rendered."""
    text = MANIFEST.replace(b"port = 0", b"port = 8443")
    wanted = desired.desired(
        parse(text, "Enarx.toml").manifest,
        Settings(),
        name="echo",
        namespace="shop",
        image=IMAGE,
        package=package.digest,
        backend=node.kind,
        steward_root="-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n",
    )
    return pod.guest_data(wanted)


@pytest.fixture
def steward(node: Any, package: Package, init_text: str) -> Steward:
    """One whose policy has what was rendered for it, and what Kata's guest measures to."""
    section = init_data.accepted(node.kind, package.digest, init_text)[node.kind] | node.measured
    accepted = policies.parse(accept(POLICY, {node.kind: section}, ["echo.example.org"]))
    return Steward(
        Authority.create(Root.create(NOW), accepted, NOW),
        accepted,
        audience=AUDIENCE,
        clock=lambda: NOW,
        appraiser=Appraiser(node.vendor.anchors, Store(node.collateral)),
    )


@pytest.fixture
def ask(
    node: Any, package: Package, init_text: str, steward: Steward, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Any]]:
    """Start a Keep in a guest, and have it ask the Steward."""
    monkeypatch.setenv("ENARX_DEPLOY_CACHE_DIR", str(tmp_path / "cache"))
    nothing = os.open(os.devnull, os.O_RDWR)
    sessions: list[Session] = []

    def ask(measurement: bytes = KATA, said: str = init_text) -> Any:
        guest = Guest(node, measurement, bytes.fromhex(init_data.digest(said)))
        backend = InGuest(node.kind, guest)
        manifest = parse(MANIFEST, "Enarx.toml").manifest
        session = Session(package, manifest, backend, Stdio(nothing, nothing, nothing, complaints=2))
        sessions.append(session)
        session.start()
        nonce = steward.challenge().nonce
        request = session.certify(Challenge(nonce=nonce, audience=AUDIENCE))
        assert guest.asked == 1
        return steward.certify(
            request=request.csr,
            nonce=nonce,
            kind=request.evidence_kind,
            evidence=request.evidence,
            package=package.digest,
            endorsements={},
        )

    yield ask
    for session in sessions:
        session.kill()
        session.wait()
    os.close(nothing)


def test_a_keep_in_the_guest_that_the_policy_lists_is_certified(ask: Callable[..., Any], node: Any) -> None:
    certified = ask()
    assert certified.certificate
    assert certified.appraisal.kind == node.kind


def failed(caught: pytest.ExceptionInfo[Refused]) -> set[str]:
    return {check.id for check in caught.value.checks if not check.ok}


def test_another_guest_than_katas_is_refused(ask: Callable[..., Any], node: Any) -> None:
    with pytest.raises(Refused) as caught:
        ask(measurement=ANOTHER)
    assert failed(caught) == {f"{node.kind}.policy.workload"}


def test_a_guest_with_other_init_data_is_refused(ask: Callable[..., Any], node: Any, init_text: str) -> None:
    """Such as with a policy that would let the host run another program there."""
    looser = init_text.replace("default ExecProcessRequest := false", "default ExecProcessRequest := true")
    assert looser != init_text
    with pytest.raises(Refused) as caught:
        ask(said=looser)
    assert len(failed(caught)) == 1
    assert init_data.digest(looser) in str([check.actual for check in caught.value.checks if not check.ok])

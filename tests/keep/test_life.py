"""Evidence, the manifest as a Keep reads it, and what it lets its host add."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import enarx_attestation
from enarx_deploy.manifest import parse
from enarx_keep import evidence, life, manifest
from enarx_keep.errors import BadManifest, BadMessage, KeepFault

TESTS = Path(__file__).parents[1]
PACKAGE = f"sha256:{'a1' * 32}"
REFUSED = "codex-chat-client-listen-with-host"
MANIFESTS = [
    path
    for folder, pattern in (
        ("manifest/corpus", "*.toml"),
        ("wasm_programs", "*.toml"),
        ("../templates", "*/Enarx.toml"),
    )
    for path in sorted((TESTS / folder).glob(pattern))
    if path.stem != REFUSED
]


@given(st.binary(min_size=16, max_size=64), st.binary(min_size=1, max_size=200), st.text(max_size=50))
def test_report_data_is_what_the_verifier_expects(nonce: bytes, key: bytes, audience: str) -> None:
    ours = evidence.report_data(nonce=nonce, public_key=key, package=PACKAGE, audience=audience)
    theirs = enarx_attestation.report_data(
        purpose=evidence.PURPOSE.decode(), nonce=nonce, spki=key, package=PACKAGE, audience=audience
    )
    assert ours == theirs


@pytest.mark.parametrize("kind", ["snp", "tdx", "sgx", "kvm", "", "NIL"])
def test_a_keep_makes_up_no_evidence(kind: str) -> None:
    with pytest.raises(KeepFault, match="cannot produce"):
        evidence.evidence(kind, PACKAGE, bytes(64))


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_host_and_keep_read_a_manifest_alike(path: Path) -> None:
    text = path.read_bytes()
    host = parse(text, "Enarx.toml").manifest
    keep = manifest.read(text)
    assert keep.argv() == host.argv()
    assert keep.environ() == [f"{name}={value}" for name, value in host.environ()]
    assert [(file.kind, file.name) for file in keep.files] == [
        (type(file).__name__.lower(), file.name) for file in host.files
    ]
    assert [file.tls for file in keep.files] == [getattr(file, "prot", "") == "tls" for file in host.files]
    assert (keep.memory_bytes, keep.filesystem_bytes) == (host.resources.memory_bytes, host.resources.filesystem_bytes)


@given(st.binary(max_size=100))
def test_arbitrary_bytes_are_a_manifest_or_a_fault(text: bytes) -> None:
    with contextlib.suppress(BadManifest):
        manifest.read(text)


@pytest.mark.parametrize("kind", ["snp", "tdx", "sgx", "kvm", None])
@pytest.mark.parametrize(("name", "value"), [("args", ["x"]), ("env", {"A": "b"}), ("mounts", 1)])
def test_an_attested_keep_takes_nothing_beside_its_manifest(kind: str | None, name: str, value: object) -> None:
    keep = life._Keep.__new__(life._Keep)
    keep._boot = {"type": "boot", "evidence": kind, name: value}
    with pytest.raises(BadMessage, match="may not set"):
        keep._granted(name, type(value))
    keep._boot["evidence"] = "nil"
    assert keep._granted(name, type(value)) == value
    keep._boot[name] = "of another type"
    with pytest.raises(BadMessage, match="is not of type"):
        keep._granted(name, type(value))


@pytest.mark.parametrize("pem", [b"", b"hello", b"-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n"])
def test_roots_that_are_none(pem: bytes) -> None:
    with pytest.raises(BadManifest, match=r"ca\.pem"):
        life._certificates(pem, "ca.pem")

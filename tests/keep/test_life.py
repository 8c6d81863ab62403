"""Evidence, the manifest as a Keep reads it, and what it lets its host add."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import enarx_attestation
from enarx_deploy.manifest import parse
from enarx_image.measurement import with_code
from enarx_keep import binding, life, machine, manifest
from enarx_keep.attester.choice import Chosen
from enarx_keep.attester.machine import Machine
from enarx_keep.attester.source import REPORT_DATA
from enarx_keep.attester.unprotected import Nil
from enarx_keep.channel import Reader
from enarx_keep.errors import BadManifest, BadMessage

TESTS = Path(__file__).parents[1]
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


@given(
    nonce=st.binary(min_size=16, max_size=64),
    key=st.binary(min_size=1, max_size=200),
    digest=st.binary(min_size=32, max_size=32),
    audience=st.text(max_size=50),
)
def test_report_data_is_what_the_verifier_expects(nonce: bytes, key: bytes, digest: bytes, audience: str) -> None:
    fields = {"nonce": nonce, "package": f"sha256:{digest.hex()}", "audience": audience}
    ours = binding.report_data(public_key=key, **fields)
    assert ours == enarx_attestation.report_data(purpose=binding.PURPOSE.decode(), spki=key, **fields)
    assert len(ours) == REPORT_DATA


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
    assert [file.tls is not None for file in keep.files] == [getattr(file, "prot", "") == "tls" for file in host.files]
    assert (keep.memory_bytes, keep.filesystem_bytes) == (host.resources.memory_bytes, host.resources.filesystem_bytes)


@given(st.binary(max_size=100))
def test_arbitrary_bytes_are_a_manifest_or_a_fault(text: bytes) -> None:
    with contextlib.suppress(BadManifest):
        manifest.read(text)


@pytest.mark.parametrize("kind", ["snp", "tdx", "sgx", "kvm"])
@pytest.mark.parametrize(("name", "value"), [("args", ["x"]), ("env", {"A": "b"}), ("mounts", 1)])
def test_an_attested_keep_takes_nothing_beside_its_manifest(kind: str, name: str, value: object) -> None:
    keep = life._Keep.__new__(life._Keep)
    keep._attester = Chosen(kind, Nil(Machine()))
    keep._boot = {"type": "boot", "evidence": "nil", name: value}
    with pytest.raises(BadMessage, match="may not set"):
        keep._granted(name, type(value))
    keep._attester = Chosen("nil", Nil(Machine()))
    assert keep._granted(name, type(value)) == value
    keep._boot[name] = "of another type"
    with pytest.raises(BadMessage, match="is not of type"):
        keep._granted(name, type(value))


@pytest.mark.parametrize("told", [["stdin", "stderr"], []])
def test_terminals_are_what_the_host_says(told: list[str]) -> None:
    keep = life._Keep.__new__(life._Keep)
    keep._boot = {"type": "boot", "terminals": told}
    assert keep._terminals() == set(told)
    keep._boot = {"type": "boot"}
    assert keep._terminals() == frozenset()


@pytest.mark.parametrize("told", [["stdin", "listen"], [0], [["stdin"]], "stdin", {"stdin": True}])
def test_terminals_that_are_no_standard_streams_are_refused(told: object) -> None:
    keep = life._Keep.__new__(life._Keep)
    keep._boot = {"type": "boot", "terminals": told}
    with pytest.raises(BadMessage, match="terminals"):
        keep._terminals()


@pytest.mark.parametrize("kind", ["nil", "kvm", "snp", "tdx", "sgx"])
def test_a_keep_takes_no_code_of_its_host_but_what_was_measured_with_it(kind: str) -> None:
    keep = life._Keep.__new__(life._Keep)
    keep._attester = Chosen(kind, Nil(Machine()))
    for handed, told in (("", "was not measured"), (hashlib.sha256(b"coda").hexdigest(), "other compiled code")):
        keep._handed = handed
        keep._boot, keep._reader = {"type": "boot", "code": 4}, Reader(lambda most: b"code"[:most])
        with pytest.raises(BadMessage, match=told):
            keep._take_code()
    keep._handed = hashlib.sha256(b"code").hexdigest()
    assert keep._take_code() == b"code"
    keep._boot["code"] = 1 << 30
    with pytest.raises(BadMessage, match="too many"):
        keep._take_code()
    keep._boot["code"] = 0
    assert keep._take_code() == b""


def test_the_command_line_says_which_code_may_be_handed_over() -> None:
    """As the image's own room writes it."""
    digest = "ab" * 32
    assert machine.measured_code(with_code("quiet panic=-1", f"sha256:{digest}") + "\n") == digest
    assert machine.measured_code("quiet keep.mode=sha256:00 panic=-1\n") == ""


@pytest.mark.parametrize(
    "cmdline",
    [
        f"keep.code=sha256:{'ab' * 32} keep.code=sha256:{'cd' * 32}",
        "keep.code=sha256:",
        f"keep.code=sha256:{'AB' * 32}",
        f"keep.code=sha256:{'ab' * 33}",
    ],
    ids=["two", "none", "capitals", "too-long"],
)
def test_a_command_line_that_is_not_clear_about_code_starts_no_keep(cmdline: str) -> None:
    with pytest.raises(machine.MachineFault, match="which code"):
        machine.measured_code(cmdline)


@pytest.mark.parametrize("pem", [b"", b"hello", b"-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n"])
def test_roots_that_are_none(pem: bytes) -> None:
    with pytest.raises(BadManifest, match=r"ca\.pem"):
        life._certificates(pem, "ca.pem")


@pytest.mark.parametrize(
    "tls",
    [
        "roots = []",
        "peers = []",
        "alpn = []",
        'peers = "a.example"',
        "peers = [1]",
        'client_auth = "maybe"',
        "client_auth = true",
        'handshake_timeout = "x"',
        'client_atuh = "require"',
    ],
)
def test_tls_that_is_not_understood_is_never_passed_over(tls: str) -> None:
    """The host has checked it too, but it is the host."""
    text = f'[[files]]\nkind = "listen"\nname = "web"\nprot = "tls"\n[tls.web]\n{tls}\n'
    with pytest.raises(BadManifest):
        manifest.read(text.encode())

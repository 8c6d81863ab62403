"""`verify` with reference values of Keeps without hardware: another package or image is found out by its digest."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from enarx_attestation import PURPOSE_TLS, report_data
from enarx_attestation.claims_extension import CertifiedEvidence
from enarx_steward.ca import Leaf

PACKAGE, IMAGE, OTHER = ("sha256:" + digits * 32 for digits in ("ab", "cd", "ef"))
AUDIENCE = "https://steward.example.org"
NONCE = bytes(range(32))


def document(key: Any, **changes: str) -> bytes:
    """The evidence of a kvm Keep with that key."""
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    bound = report_data(purpose=PURPOSE_TLS, nonce=NONCE, spki=spki, package=PACKAGE, audience=AUDIENCE)
    said = {"kind": "kvm", "package": PACKAGE, "report_data": bound.hex(), "image": IMAGE} | changes
    return json.dumps(said, separators=(",", ":")).encode()


@pytest.fixture
def checked(service, enarx_deploy, tmp_path):
    """Verify a service with such evidence; answers the exit status and the checks that failed, in words."""

    def checked(*, shown: bytes | None, values: dict[str, Any], kind: str = "kvm") -> tuple[int, dict[str, str]]:
        at = datetime.now(UTC)
        claims = msgspec.structs.replace(
            service.claims,
            backend=kind,
            hardware=kind != "kvm",
            evidence_sha256=hashlib.sha256(document(service.key)).hexdigest(),
        )
        evidence = None
        if shown is not None:
            evidence = CertifiedEvidence(kind=kind, data=shown, nonce=NONCE, audience=AUDIENCE)
        leaf = Leaf(
            key=service.key.public_key(),
            claims=claims,
            grant=service.grant,
            trust_domain="localhost",
            evidence=evidence,
        )
        root = service.root_of(at - timedelta(days=2))
        (tmp_path / "root.pem").write_text(service.authority_of(root, at - timedelta(days=1)).root_pem)
        certificate = service.authority_of(root, at - timedelta(days=1)).issue(leaf, at)
        (tmp_path / "values.json").write_text(json.dumps(values))
        words = ("--root", str(tmp_path / "root.pem"), "--accept", kind)
        with service.serving(certificate) as port:
            ended = enarx_deploy(
                "verify", f"localhost:{port}", *words, "--reference-values", str(tmp_path / "values.json"), "--json"
            )
        checks = json.loads(ended.stdout)["checks"]
        return ended.returncode, {check["id"]: check["detail"] for check in checks if not check["ok"]}

    return checked


def values(**changes: Any) -> dict[str, Any]:
    """What `attest --json` prints."""
    policy = {"kvm": {"packages": [PACKAGE], "images": [IMAGE]}}
    record = {"backend": "kvm", "hardware": False, "package": PACKAGE, "measurements": {"image": IMAGE}}
    return {**record, "policy": policy} | changes


def test_the_keep_that_was_meant_passes(checked, service):
    assert checked(shown=document(service.key), values=values()) == (0, {})


@pytest.mark.parametrize(
    ("policy", "package", "failed"),
    [
        pytest.param({"packages": [PACKAGE], "images": [OTHER]}, PACKAGE, ["kvm.image"], id="another-image"),
        pytest.param(
            {"packages": [OTHER], "images": [IMAGE]},
            OTHER,
            ["kvm.package", "binding.packages", "claims.package"],
            id="another-package",
        ),
    ],
)
def test_what_differs_is_named_with_what_was_expected(checked, service, policy, package, failed):
    status, found = checked(shown=document(service.key), values=values(package=package, policy={"kvm": policy}))
    assert status == 3
    assert list(found) == failed
    actual = IMAGE if "kvm.image" in failed else PACKAGE
    assert found[failed[0]] == f"{actual}; expected: {OTHER}"


@pytest.mark.parametrize(
    ("changes", "failed"),
    [
        ({"report_data": "00" * 64}, ["evidence.claimed", "binding.report-data"]),
        ({"image": "sha256:00"}, ["evidence.claimed", "evidence.form"]),
    ],
    ids=["of-another-key", "damaged"],
)
def test_evidence_that_is_not_the_keeps_own_compares_with_nothing(checked, service, changes, failed):
    status, found = checked(shown=document(service.key, **changes), values=values())
    assert status == 3
    assert list(found) == failed


def test_a_certificate_without_evidence_is_not_taken_for_what_was_meant(checked):
    status, found = checked(shown=None, values=values())
    assert (status, list(found)) == (3, ["evidence.present"])


def test_evidence_of_hardware_is_compared_with_no_software(checked, service):
    status, found = checked(shown=document(service.key), values=values(), kind="snp")
    assert status == 3
    assert "is about a Keep without hardware" in found["evidence.form"]


def test_reference_values_of_hardware_need_trust_in_it(enarx_deploy, tmp_path: Path):
    (tmp_path / "values.json").write_text(json.dumps(values(backend="snp", hardware=True)))
    refused = enarx_deploy("verify", "localhost:1", "--reference-values", str(tmp_path / "values.json"))
    assert refused.returncode == 2
    assert "add --trust hardware" in refused.stderr

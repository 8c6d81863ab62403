"""A Steward that issues on evidence of Azure's virtual machines and of AWS Nitro, of vendors in miniature."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from msgspec.structs import replace

from enarx_attestation import Anchors, cbor, parse, report_data
from enarx_attestation.snp import read_collateral
from enarx_steward import policy as policy_file
from enarx_steward.appraiser import Appraiser
from enarx_steward.ca import Authority
from enarx_steward.errors import MalformedRequest, Refused
from enarx_steward.issuance import Certified, Steward
from enarx_steward.root import Root

from .conftest import PACKAGE, VENDORS

NOW = datetime(2026, 6, 1, tzinfo=UTC)
AUDIENCE = "https://steward.example.org"
GOOD, BAD = b"good".ljust(32, b"."), b"bad".ljust(32, b".")


class Azure:
    """A virtual machine of Azure: a paravisor's report that vouches for a TPM."""

    kind = "az-snp"

    def __init__(self, amd: Any) -> None:
        self.amd = amd
        self.section = f'[az_snp]\nmeasurements = ["{self.paravisor()}"]\npcrs = {{ "4" = ["{GOOD.hex()}"] }}\n'
        self.key = VENDORS.rsa_key("tpm")
        self.anchors = amd.anchors
        self.collateral = read_collateral(amd.vek(amd.extensions()).der, crls=[amd.crl()])

    def evidence(
        self, data: bytes, *, quoted: dict[int, bytes] | None = None, shown: Sequence[bytes] | None = None
    ) -> bytes:
        """The document: a quote of the registers in `quoted`, and the values that are shown for them."""
        quoted = {4: GOOD} if quoted is None else quoted
        shown = [quoted.get(number, bytes(32)) for number in range(24)] if shown is None else shown
        bitmap = sum(1 << number for number in quoted).to_bytes(3, "little")
        digest = hashlib.sha256(b"".join(quoted.values())).digest()
        message = b"\xff\x54\x43\x47" + struct.pack(">HH", 0x8018, 0) + struct.pack(">H", len(data)) + data + bytes(25)
        message += struct.pack(">IHB", 1, 0x000B, 3) + bitmap + struct.pack(">H", 32) + digest
        signature = self.key.sign(message, padding.PKCS1v15(), SHA256())
        pcrs = [value.hex() for value in shown]
        quote = {"message": message.hex(), "signature": signature.hex(), "pcrs": pcrs}
        return json.dumps({"hcl_report": base64.b64encode(self.report()).decode(), "tpm_quote": quote}).encode()

    def paravisor(self) -> str:
        """What it measures to."""
        report: Any = parse(self.amd.report({}), "snp")
        return str(report.measurement.hex())

    def report(self) -> bytes:
        """The paravisor's, with the document to which it commits."""
        numbers = self.key.public_key().public_numbers()
        e, n = (
            base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (b"\1\0\1", numbers.n.to_bytes(256, "big"))
        )
        runtime = json.dumps({"keys": [{"kid": "HCLAkPub", "kty": "RSA", "e": e, "n": n}]}).encode()
        report = self.amd.report({0x50: hashlib.sha256(runtime).digest()})
        return b"HCLA".ljust(32, b"\0") + report + struct.pack("<5I", 0, 0, 2, 1, len(runtime)) + runtime


class Nitro:
    """AWS: a root, and an enclave whose document it vouches for."""

    kind = "nitro"
    section = f'[nitro]\npcrs = {{ "0" = ["{GOOD.hex()}"] }}\n'
    collateral = None

    def __init__(self) -> None:
        key = ec.generate_private_key(ec.SECP384R1())
        name = VENDORS.name("aws.nitro-enclaves", "Amazon")
        self.root = VENDORS.issue(name, key, None, authority=True, digest=SHA384())
        self.leaf = VENDORS.issue(
            VENDORS.name("i-0123", "Amazon"),
            ec.generate_private_key(ec.SECP384R1()),
            self.root,
            authority=False,
            plain=[("1.2.3", b"\5\0")],
            digest=SHA384(),
        )
        self.anchors = Anchors(nitro_roots=frozenset({hashlib.sha256(self.root.der).hexdigest()}))

    def evidence(self, data: bytes, **changes: Any) -> bytes:
        document = {
            "module_id": "i-0123-enc0123",
            "digest": "SHA384",
            "timestamp": int(NOW.timestamp() * 1000) - 1000,
            "pcrs": {0: GOOD},
            "certificate": self.leaf.der,
            "cabundle": [self.root.der],
            "user_data": data,
        }
        payload, protected = cbor.encode(document | changes), cbor.encode({1: -35})
        signed = cbor.encode(["Signature1", protected, b"", payload])
        parts = decode_dss_signature(self.leaf.key.sign(signed, ec.ECDSA(SHA384())))
        signature = b"".join(part.to_bytes(48, "big") for part in parts)
        return cbor.encode([protected, {}, payload, signature])


class Held:
    """A store with one collateral."""

    def __init__(self, collateral: Any) -> None:
        self._collateral = collateral

    def find(self, *_: Any, **__: Any) -> Any:
        return self._collateral


@pytest.fixture
def azure(amd):
    return Azure(amd)


@pytest.fixture(scope="module")
def nitro():
    return Nitro()


@pytest.fixture
def ask(keep):
    """Go through the protocol with a platform; `changes` are what its evidence should not be."""

    def ask(platform: Any, *, anchors: Anchors | None = None, audience: str = AUDIENCE, **changes: Any) -> Certified:
        text = f'[ca]\ntrust_domain = "example.org"\n{platform.section}names = ["keep.example.org"]\n'
        accepted = policy_file.parse(text.encode())
        steward = Steward(
            Authority.create(Root.create(NOW), accepted, NOW),
            accepted,
            audience=AUDIENCE,
            clock=lambda: NOW,
            appraiser=Appraiser(anchors or platform.anchors, Held(platform.collateral)),
        )
        nonce = steward.challenge().nonce
        data = report_data(purpose="tls-server", nonce=nonce, spki=keep.spki, package=PACKAGE, audience=audience)
        evidence = platform.evidence(data, **changes)
        request = keep.request(marking=None)
        return steward.certify(request=request, nonce=nonce, kind=platform.kind, evidence=evidence, package=PACKAGE)

    return ask


def refusal(ask, platform, **changes) -> tuple[str, ...]:
    with pytest.raises(Refused) as caught:
        ask(platform, **changes)
    return caught.value.failed


@pytest.fixture(params=["azure", "nitro"])
def platform(request):
    return request.getfixturevalue(request.param)


def test_evidence_that_answers_a_challenge_earns_a_certificate(ask, platform):
    found = ask(platform).appraisal
    assert (found.ok, found.kind) == (True, platform.kind)


def test_evidence_for_another_audience_is_refused(ask, platform):
    assert refusal(ask, platform, audience="https://elsewhere.example.org") == ("binding.report-data",)


def test_under_a_root_that_is_not_pinned_nothing_is_issued(ask, platform):
    assert f"{'snp' if platform.kind == 'az-snp' else 'nitro'}.root.unpinned" in refusal(
        ask, platform, anchors=Anchors()
    )


def test_a_register_that_the_policy_does_not_list_is_refused(ask, azure, nitro):
    assert refusal(ask, azure, quoted={4: BAD}) == ("az-snp.policy.registers",)
    assert refusal(ask, nitro, pcrs={0: BAD}) == ("nitro.policy.workload",)


def test_a_register_cannot_be_passed_off_as_another(ask, azure):
    """All values that were quoted are hashed in a row, and a guest can put a good one into a register of its own."""
    quoted = {0: GOOD, 4: BAD, 16: GOOD}
    shown = [bytes(32)] * 24
    shown[0], shown[4], shown[16] = GOOD + BAD, GOOD, b""
    assert "az-snp.tpm.registers" in refusal(ask, azure, quoted=quoted, shown=shown)


@pytest.mark.parametrize("timestamp", [253_402_300_800_000, (1 << 48) - 1, 0, -1])
def test_a_document_of_a_year_that_no_date_has_is_malformed(ask, nitro, timestamp):
    with pytest.raises(MalformedRequest):
        ask(nitro, timestamp=timestamp)


def test_a_document_of_the_last_year_is_refused(ask, nitro):
    assert refusal(ask, nitro, timestamp=253_402_300_799_999) == ("nitro.policy.age",)


def test_the_enclaves_own_certificate_issues_no_other(ask, nitro):
    key = ec.generate_private_key(ec.SECP384R1())
    forged = VENDORS.issue(
        VENDORS.name("i-4567", "Amazon"), key, nitro.leaf, authority=False, plain=[("1.2.3", b"\5\0")], digest=SHA384()
    )
    other = Nitro()
    other.root, other.leaf, other.anchors = nitro.root, forged, nitro.anchors
    chain = [nitro.root.der, nitro.leaf.der]
    assert "nitro.chain" in refusal(ask, other, cabundle=chain)


def test_azures_certificate_of_another_chip_is_refused(ask, azure, amd):
    other = replace(azure.collateral, vek=read_collateral(amd.vek(amd.extensions(hwid=bytes(64))).der).vek)
    azure.collateral = other
    assert "snp.chip-id" in refusal(ask, azure)

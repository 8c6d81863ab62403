"""A Steward that issues on evidence of hardware: of vendors in miniature, and of real Keeps of Enarx.

The clock stands still, for the real evidence is years old and its revocation lists have long ended.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from enarx_attestation import (
    VENDOR_ANCHORS,
    Collateral,
    Evidence,
    claims_extension,
    der,
    legacy_report_data,
    load_endorsements,
    report_data,
)
from enarx_attestation.der_encoding import element, sequence
from enarx_attestation.intel_collateral import read_collateral
from enarx_attestation.snp import read_collateral as read_amd
from enarx_collateral import Item, Store
from enarx_collateral.directory import offers
from enarx_steward import policy as policy_file
from enarx_steward.appraiser import Appraiser
from enarx_steward.ca import Authority
from enarx_steward.collateral import MissingCollateral, Revocation
from enarx_steward.errors import MalformedRequest, Refused
from enarx_steward.issuance import Certified, Steward
from enarx_steward.root import Root
from enarx_steward.stored import StoredCollateral

AUDIENCE = "https://steward.example.org"
PACKAGE = "sha256:" + "ab" * 32
NOW = datetime(2026, 6, 1, tzinfo=UTC)
VECTORS = Path(__file__).parent.parent / "attestation" / "vectors"
MEASUREMENT = "00" * 48
MRENCLAVE = "01" * 32
SECTIONS = {
    "snp": f'measurements = ["{MEASUREMENT}"]',
    "sgx": f'mrenclaves = ["{MRENCLAVE}"]',
    "tdx": f'mrtds = ["{MEASUREMENT}"]',
}


@dataclass
class Held:
    """A store that holds one collateral, or lacks what the test says it lacks."""

    collateral: Collateral | None = None
    missing: MissingCollateral = field(default_factory=lambda: MissingCollateral("VCEK of chip 00", hint="fetch it"))
    asked: list[str] = field(default_factory=list)

    def find(self, evidence: Evidence, at: datetime, *, revocation: Revocation) -> Collateral:
        self.asked.append(revocation)
        if self.collateral is None:
            raise self.missing
        return self.collateral


def make_policy(kind: str, more: str = "", *, top: str = "") -> policy_file.StewardPolicy:
    text = (
        f'[ca]\ntrust_domain = "example.org"\n{top}\n[{kind}]\nnames = ["keep.example.org"]\n{SECTIONS[kind]}\n{more}\n'
    )
    return policy_file.parse(text.encode())


@dataclass
class Vendor:
    """A kind of evidence with a vendor in miniature: makes what a Keep would show, bound to what a test wants."""

    kind: str
    vendor: Any
    collateral: Collateral

    def evidence(self, data: bytes, **changes: Any) -> bytes:
        if self.kind == "snp":
            fields = {0x50: data, **changes.pop("fields", {})}
            return self.vendor.report(fields)
        if self.kind == "sgx":
            return self.vendor.quote("SGX", body=self.vendor.enclave(report_data=data, **changes))
        body = bytearray(self.vendor.domain(**changes))
        body[520:584] = data
        return self.vendor.quote("TDX", body=bytes(body))


@pytest.fixture(params=["snp", "sgx", "tdx"])
def vendor(request, amd, intel):
    """Each kind in turn."""
    if request.param == "snp":
        return Vendor("snp", amd, read_amd(amd.vek(amd.extensions()).der, crls=[amd.crl()]))
    return Vendor(request.param, intel, read_collateral(intel.collateral(request.param.upper())))


@pytest.fixture
def snp(amd):
    return Vendor("snp", amd, read_amd(amd.vek(amd.extensions()).der, crls=[amd.crl()]))


@pytest.fixture
def sgx(intel):
    return Vendor("sgx", intel, read_collateral(intel.collateral("SGX")))


@dataclass
class Scene:
    """A Steward with a vendor's anchors, and a Keep that asks it."""

    keep: Any
    vendor: Vendor
    steward: Steward

    def ask(self, evidence: bytes | None = None, **changes: Any) -> Certified:
        """Go through the protocol; the changes are what the Keep binds its evidence to, or sends."""
        nonce = changes.pop("nonce", None) or self.steward.challenge().nonce
        sent = {name: changes.pop(name) for name in ("package", "endorsements", "evidence_options") if name in changes}
        fields = {"purpose": "tls-server", "nonce": nonce, "spki": self.keep.spki, "package": PACKAGE}
        data = report_data(**(fields | {"audience": AUDIENCE} | changes))
        return self.steward.certify(
            request=self.keep.request(marking=None),
            nonce=nonce,
            kind=self.vendor.kind,
            evidence=evidence or self.vendor.evidence(data, **sent.get("evidence_options", {})),
            package=sent.get("package", PACKAGE),
            endorsements=sent.get("endorsements", {}),
        )

    def refusal(self, **changes: Any) -> Refused:
        with pytest.raises(Refused) as caught:
            self.ask(**changes)
        return caught.value


def make_scene(keep: Any, vendor: Vendor, policy: str = "", *, source: Any = None, top: str = "") -> Scene:
    accepted = make_policy(vendor.kind, policy, top=top)
    steward = Steward(
        Authority.create(Root.create(NOW), accepted, NOW),
        accepted,
        audience=AUDIENCE,
        clock=lambda: NOW,
        appraiser=Appraiser(vendor.vendor.anchors, source or Held(vendor.collateral)),
    )
    return Scene(keep, vendor, steward)


@pytest.fixture
def scene(keep, vendor):
    return make_scene(keep, vendor)


def leaf_of(certified: Certified) -> x509.Certificate:
    return x509.load_der_x509_certificate(certified.certificate)


def claims_of(certificate: x509.Certificate) -> Any:
    oid = x509.ObjectIdentifier(claims_extension.OID)
    value = certificate.extensions.get_extension_for_oid(oid).value
    assert isinstance(value, x509.UnrecognizedExtension)
    return claims_extension.decode(value.value)


def test_evidence_of_hardware_that_answers_a_challenge_earns_a_certificate(scene):
    certified = scene.ask()
    leaf = leaf_of(certified)
    leaf.verify_directly_issued_by(scene.steward.authority.certificate)
    found = claims_of(leaf)
    assert (found.claims.backend, found.claims.hardware, found.claims.package) == (scene.vendor.kind, True, PACKAGE)
    assert found.claims.nonce_bound
    assert found.claims.status == {"snp": "Verified"}.get(scene.vendor.kind, "UpToDate")
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["keep.example.org"]
    uri = f"spiffe://example.org/package/sha256/{PACKAGE.removeprefix('sha256:')}"
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [uri]
    # No marking: it says that no hardware protects the Keep.
    assert "1.3.6.1.4.1.58270.1.1" not in {extension.oid.dotted_string for extension in leaf.extensions}


@pytest.mark.parametrize(
    "change",
    [
        {"purpose": "tls-client"},
        {"spki": b"\x30\x00another key"},
        {"package": "sha256:" + "cd" * 32},
        {"audience": "https://another.example.org"},
    ],
    ids=lambda change: f"other-{next(iter(change))}",
)
def test_evidence_that_is_bound_to_something_else_is_refused(scene, change):
    assert scene.refusal(**change).failed == ("binding.report-data",)


def test_evidence_for_another_nonce_is_refused_and_each_nonce_answers_once(scene):
    other = report_data(purpose="tls-server", nonce=b"n" * 32, spki=scene.keep.spki, package=PACKAGE, audience=AUDIENCE)
    assert scene.refusal(evidence=scene.vendor.evidence(other)).failed == ("binding.report-data",)
    nonce = scene.steward.challenge().nonce
    scene.ask(nonce=nonce)
    assert scene.refusal(nonce=nonce).failed == ("nonce.open",)


def test_under_a_root_that_is_not_pinned_nothing_is_issued(scene):
    scene.steward._appraiser = Appraiser(VENDOR_ANCHORS, Held(scene.vendor.collateral))
    assert f"{scene.vendor.kind}.root.unpinned" in scene.refusal().failed


def test_a_kind_without_a_section_is_refused_before_its_collateral_is_looked_for(keep, vendor):
    source = Held(vendor.collateral)
    scene = make_scene(keep, vendor, source=source)
    other = "sgx" if vendor.kind == "snp" else "snp"
    scene.steward.replace_policy(make_policy(other))
    assert scene.refusal().failed == ("policy.kind",)
    assert source.asked == []


def test_evidence_without_a_package_needs_one_named(scene):
    with pytest.raises(MalformedRequest, match="names no package"):
        scene.ask(package=None)


@pytest.mark.parametrize(
    ("rules", "options", "check"),
    [
        (f'deny_id_keys = ["{MEASUREMENT}"]', {}, "snp.policy.denied"),
        ("minimum_tcb = { milan = { snp = 25 } }", {}, "snp.policy.tcb"),
        ("", {"fields": {0x08: struct.pack("<Q", 0x3001F | 1 << 19)}}, "snp.policy.guest"),
        (f'chip_ids = ["{"77" * 64}"]', {}, "snp.policy.platform-id"),
        ("measured_package = true", {}, "binding.launch-package"),
        (f'packages = ["sha256:{"cd" * 32}"]', {}, "binding.packages"),
    ],
    ids=["denied", "minimum-tcb", "debug", "chip", "package-not-measured", "other-package"],
)
def test_what_the_policy_for_snp_does_not_accept_is_refused(keep, snp, rules, options, check):
    scene = make_scene(keep, snp, rules)
    refusal = scene.refusal(evidence_options=options)
    assert refusal.failed == (check,)
    assert refusal.hint


@pytest.mark.parametrize(
    ("rules", "options", "check"),
    [
        ("", {"attributes": b"\x07".ljust(16, b"\0")}, "sgx.policy.attributes"),
        (f'deny_mrsigners = ["{"02" * 32}"]', {}, "sgx.policy.denied"),
        ("minimum_isv_svn = 1", {}, "sgx.policy.identity"),
        ("minimum_evaluation_number = 19", {}, "sgx.policy.evaluation"),
        (f'ppids = ["{"77" * 16}"]', {}, "sgx.policy.platform-id"),
        ("maximum_collateral_age_days = 1", {}, "sgx.policy.collateral-age"),
    ],
    ids=["debug", "denied", "svn", "old-evaluation", "platform", "collateral-age"],
)
def test_what_the_policy_for_sgx_does_not_accept_is_refused(keep, sgx, rules, options, check):
    assert make_scene(keep, sgx, rules).refusal(evidence_options=options).failed == (check,)


def test_a_status_is_accepted_by_its_name_alone(keep, intel):
    info = intel.tcb_info("SGX")
    info["tcbLevels"] = [level | {"tcbStatus": "OutOfDate"} for level in info["tcbLevels"]]
    vendor = Vendor("sgx", intel, read_collateral(intel.collateral("SGX", tcb_info=info)))
    assert make_scene(keep, vendor).refusal().failed == ("sgx.policy.status",)
    scene = make_scene(keep, vendor, 'accept_statuses = ["UpToDate", "OutOfDate"]')
    assert claims_of(leaf_of(scene.ask())).claims.status == "OutOfDate"


def test_what_is_on_a_revocation_list_is_refused(keep, amd, intel):
    revoked = amd.crl(amd.ask.certificate.serial_number)
    vendor = Vendor("snp", amd, read_amd(amd.vek(amd.extensions()).der, crls=[revoked]))
    assert "snp.certificate.revoked" in make_scene(keep, vendor).refusal().failed
    assert "snp.certificate.revoked" in make_scene(keep, vendor, 'revocation = "off"').refusal().failed
    document = intel.collateral("SGX", pck_crl=intel.crl(intel.ca, intel.pck))
    vendor = Vendor("sgx", intel, read_collateral(document))
    assert "sgx.certificate.revoked" in make_scene(keep, vendor).refusal().failed


def test_a_stale_revocation_list_is_refused_unless_the_policy_prefers_only(keep, amd):
    stale = read_amd(amd.vek(amd.extensions()).der, crls=[amd.crl(days=(-60, -30))])
    vendor = Vendor("snp", amd, stale)
    assert make_scene(keep, vendor).refusal().failed == ("snp.policy.revocation",)
    make_scene(keep, vendor, 'revocation = "prefer"').ask()


def test_missing_collateral_is_a_refusal_that_says_what_and_how_to_get_it(keep, vendor):
    refusal = make_scene(keep, vendor, source=Held(None)).refusal()
    assert refusal.failed == ("evidence.collateral",)
    (check,) = [check for check in refusal.checks if not check.ok]
    assert check.actual == "VCEK of chip 00. fetch it"
    assert "enarx-deploy collateral" in check.hint


def test_without_a_store_nothing_of_hardware_is_issued_on(keep, vendor):
    scene = make_scene(keep, vendor)
    scene.steward._appraiser = Appraiser(vendor.vendor.anchors)
    assert scene.refusal().failed == ("evidence.collateral",)


TOO = '[collateral]\nendorsements = "request-too"\n'


def test_a_chips_certificate_of_the_requesters_completes_what_the_store_holds(keep, amd, snp):
    lists = read_amd(amd.vek(amd.extensions()).der, crls=[amd.crl()]).crls
    source = Held(None, MissingCollateral("VCEK", lists=lists))
    sent = {"vcek.der": amd.vek(amd.extensions()).der}
    make_scene(keep, snp, source=source).ask(endorsements=sent)
    forged = {"vcek.der": amd.vek(amd.extensions(), issuer=amd.asvk).der}
    assert "snp.root.unpinned" in make_scene(keep, snp, source=source).refusal(endorsements=forged).failed


def test_revocation_lists_of_the_requesters_count_only_where_the_policy_says_so(keep, amd, snp):
    sent = {"vcek.der": amd.vek(amd.extensions()).der, "crl.der": amd.crl()}
    assert make_scene(keep, snp, source=Held(None)).refusal(endorsements=sent).failed == ("snp.policy.revocation",)
    make_scene(keep, snp, source=Held(None), top=TOO).ask(endorsements=sent)


@pytest.mark.parametrize("name", ["crl.der", "collateral.json"])
def test_what_does_not_count_is_not_read(keep, vendor, name):
    """To read a list of a million bytes takes a Steward as long as hundreds of certificates."""
    sent = {name: b"nothing that could be read"}
    make_scene(keep, vendor).ask(endorsements=sent)
    if (vendor.kind, name) != ("snp", "collateral.json"):
        with pytest.raises(MalformedRequest, match="endorsements"):
            make_scene(keep, vendor, top=TOO).ask(endorsements=sent)


def test_a_requester_cannot_take_a_revocation_back_with_an_older_list(keep, amd, snp):
    vek = amd.vek(amd.extensions()).der
    held = read_amd(vek, crls=[amd.crl(amd.ask.certificate.serial_number)])
    sent = {"vcek.der": vek, "crl.der": amd.crl(days=(-20, 30))}
    refusal = make_scene(keep, snp, source=Held(held), top=TOO).refusal(endorsements=sent)
    assert "snp.certificate.revoked" in refusal.failed
    stale = read_amd(vek, crls=[amd.crl(days=(-10, -1))])
    scene = make_scene(keep, snp, source=Held(stale), top=TOO)
    assert scene.refusal(endorsements=sent).failed == ("snp.policy.revocation",)
    scene.ask(endorsements=sent | {"crl.der": amd.crl()})


def test_statements_of_intels_that_a_requester_sends_count_only_where_the_policy_says_so(keep, intel, sgx):
    sent = {"collateral.json": intel.collateral("SGX")}
    assert make_scene(keep, sgx, source=Held(None)).refusal(endorsements=sent).failed == ("evidence.collateral",)
    make_scene(keep, sgx, source=Held(None), top=TOO).ask(endorsements=sent)


@pytest.mark.parametrize(
    "change",
    [
        {"issueDate": "2026-05-10T00:00:00Z"},
        {"tcbEvaluationDataNumber": 17, "issueDate": "2026-05-31T00:00:00Z"},
    ],
    ids=["issued-earlier", "of-an-earlier-recovery"],
)
def test_a_requester_cannot_choose_an_older_tcb_info_than_the_stores(keep, intel, sgx, change):
    info = intel.tcb_info("SGX")
    old = [level | {"tcbStatus": "UpToDate"} for level in info["tcbLevels"]]
    held = read_collateral(
        intel.collateral(
            "SGX", tcb_info=info | {"tcbLevels": [level | {"tcbStatus": "OutOfDate"} for level in info["tcbLevels"]]}
        )
    )
    sent = {"collateral.json": intel.collateral("SGX", tcb_info=info | {"tcbLevels": old} | change)}
    refusal = make_scene(keep, sgx, source=Held(held), top=TOO).refusal(endorsements=sent)
    assert refusal.failed == ("sgx.policy.status",)


def test_a_newer_tcb_info_of_the_requesters_takes_the_place_of_the_stores(keep, intel, sgx):
    info = intel.tcb_info("SGX")
    worse = [level | {"tcbStatus": "OutOfDate"} for level in info["tcbLevels"]]
    newer = info | {"tcbLevels": worse, "issueDate": "2026-05-31T00:00:00Z"}
    sent = {"collateral.json": intel.collateral("SGX", tcb_info=newer)}
    scene = make_scene(keep, sgx, source=Held(sgx.collateral), top=TOO)
    assert scene.refusal(endorsements=sent).failed == ("sgx.policy.status",)
    scene.ask()


def with_forged_list(intel: Any, document: bytes, part: str) -> bytes:
    """The document with a list of the highest number, in the authority's name and by another key."""
    held = json.loads(document)
    held[part] = held[part][:-1] + format(int(held[part][-1], 16) ^ 1, "x")
    return json.dumps(held).encode()


@pytest.mark.parametrize("mode", ["prefer", "off"])
@pytest.mark.parametrize("part", ["pck_crl", "root_ca_crl"])
def test_a_forged_list_of_the_requesters_hides_no_revocation(keep, intel, sgx, mode, part):
    revoking = {"pck_crl": intel.crl(intel.ca, intel.pck), "root_ca_crl": intel.crl(intel.root, intel.ca)}
    held = read_collateral(intel.collateral("SGX", **{part: revoking[part]}))
    sent = {"collateral.json": with_forged_list(intel, intel.collateral("SGX"), part)}
    scene = make_scene(keep, sgx, f'revocation = "{mode}"', source=Held(held), top=TOO)
    assert "sgx.certificate.revoked" in scene.refusal(endorsements=sent).failed


@pytest.mark.parametrize("mode", ["prefer", "off"])
@pytest.mark.parametrize("attack", ["forged", "of-the-other-authority"])
def test_nothing_hides_a_revocation_that_the_store_knows_beside_a_statement_that_has_ended(
    keep, intel, sgx, tmp_path, mode, attack
):
    ended = intel.tcb_info("SGX", issueDate="2026-05-25T00:00:00Z", nextUpdate="2026-05-30T00:00:00Z")
    document = intel.collateral("SGX", tcb_info=ended, pck_crl=intel.crl(intel.ca, intel.pck))
    source = fill_with_intels(tmp_path / "store", intel, document)
    scene = make_scene(keep, sgx, f'revocation = "{mode}"', source=source, top=TOO)
    newer = {"tcb_info": intel.tcb_info("SGX", issueDate="2026-05-31T00:00:00Z")}
    if attack == "forged":
        offered = with_forged_list(intel, intel.collateral("SGX", **newer), "pck_crl")
    else:
        other = {"pck_crl_issuer_chain": intel.processor.pem + intel.root.pem, "pck_crl": intel.crl(intel.processor)}
        offered = intel.collateral("SGX", **newer, **other)
    assert scene.refusal(endorsements={"collateral.json": offered}).failed == ("evidence.collateral",)


@pytest.mark.parametrize(
    "files",
    [{"../vcek.der": b""}, {"vcek.pem": b"x"}, {"vcek.der": b"no certificate"}, {f"crl{n}.der": b"" for n in range(9)}],
    ids=["strange-name", "unknown-name", "unreadable", "too-many"],
)
def test_endorsements_that_cannot_be_read_are_malformed_and_the_challenge_stays_open(keep, snp, files):
    scene = make_scene(keep, snp)
    nonce = scene.steward.challenge().nonce
    with pytest.raises(MalformedRequest, match="endorsements"):
        scene.ask(nonce=nonce, endorsements=files)
    scene.ask(nonce=nonce)


def parsed(kind: str, more: str) -> policy_file.StewardPolicy:
    return policy_file.parse(f'[ca]\ntrust_domain = "example.org"\n[{kind}]\n{SECTIONS[kind]}\n{more}\n'.encode())


def test_a_grant_gives_each_service_its_own_names(keep, vendor):
    rule = f'[[grant]]\npackage = "{PACKAGE}"\nnames = ["shop.example.org"]\nlifetime = "2h"\n'
    scene = make_scene(keep, vendor)
    accepted = parsed(vendor.kind, rule)
    scene.steward.replace_policy(accepted, Authority.create(Root.create(NOW), accepted, NOW))
    leaf = leaf_of(scene.ask())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["shop.example.org"]
    assert leaf.not_valid_after_utc == NOW + timedelta(hours=2)
    scene.steward.replace_policy(parsed(vendor.kind, rule.replace("ab", "cd")))
    assert scene.refusal().failed == ("policy.grant",)


def test_packages_are_allowed_and_denied_for_every_kind(keep, vendor):
    names = 'names = ["localhost"]\n'
    scene = make_scene(keep, vendor)
    for rules, check in (
        (f'[packages]\nallow = ["sha256:{"cd" * 32}"]', "packages.allowed"),
        (f'[packages]\ndeny = ["{PACKAGE}"]', "packages.denied"),
    ):
        scene.steward.replace_policy(parsed(vendor.kind, names + rules))
        assert scene.refusal().failed == (check,)
    scene.steward.replace_policy(parsed(vendor.kind, names + f'[packages]\nallow = ["{PACKAGE}"]'))
    scene.ask()


def test_a_certificate_ends_with_the_first_thing_that_it_rests_on(keep, amd, snp):
    """The revocation list ends in an hour, and the policy would give a day."""
    soon = read_amd(amd.vek(amd.extensions()).der, crls=[amd.crl(days=(-1, 1 / 24))])
    leaf = leaf_of(make_scene(keep, snp, source=Held(soon)).ask())
    assert leaf.not_valid_after_utc == NOW + timedelta(hours=1)


def test_a_certificate_that_would_end_too_soon_is_refused(keep, amd, snp):
    soon = read_amd(amd.vek(amd.extensions()).der, crls=[amd.crl(days=(-1, 1 / 24))])
    scene = make_scene(keep, snp, source=Held(soon))
    text = f'[ca]\ntrust_domain = "a"\nminimum_lifetime = "2h"\n[snp]\nnames = ["localhost"]\n{SECTIONS["snp"]}\n'
    scene.steward.replace_policy(policy_file.parse(text.encode()))
    assert scene.refusal().failed == ("certificate.lifetime",)
    # Who is given less than the minimum anyway gets it.
    scene.steward.replace_policy(policy_file.parse((text + 'lifetime = "30m"\n').encode()))
    assert leaf_of(scene.ask()).not_valid_after_utc == NOW + timedelta(minutes=30)


def test_the_certificate_says_what_was_measured_and_signed_and_which_advisories_apply(keep, intel):
    info = intel.tcb_info("SGX")
    levels = [level | {"tcbStatus": "OutOfDate", "advisoryIDs": ["INTEL-SA-00001"]} for level in info["tcbLevels"]]
    vendor = Vendor("sgx", intel, read_collateral(intel.collateral("SGX", tcb_info=info | {"tcbLevels": levels})))
    found = claims_of(leaf_of(make_scene(keep, vendor, 'accept_statuses = ["OutOfDate"]').ask())).claims
    assert (found.status, found.advisories) == ("OutOfDate", ("INTEL-SA-00001",))
    assert (found.measurement, found.signers) == (MRENCLAVE, ("02" * 32,))


# What real Keeps of Enarx sent to its Steward in 2022 and 2023.

SNP_CSR = VECTORS / "snp" / "milan-v2-enarx-csr" / "request.csr.der"
SGX_CSR = VECTORS / "sgx" / "enarx-xeon-icelake-outofdate" / "request.csr.der"
AUTHOR = "7dc22240a8344fce6ba5f22ffbedabc52d4123ae0ba1c59796e521b953916b503f223b15c4429e7d8c5489ad71f1e193"
MILAN = "ff717ae719840c93c1fca3b7db96488454c3c21b43531488eecff51cfed3febcd91da8be87a4cbcbc52a3bae770987c3"
MRSIGNER = "7a49a07df0f8e90a6e1d9a63e3c696d9c844f0e3f8739b21daa640f99facc48a"
XEON = "4046ea255f0455131a024e1265ac1ebd131fdbd1240f1712a00381f6f04e8c15"
IN_WINDOW = datetime(2023, 1, 30, tzinfo=UTC)


def enarx_steward(section: str, at: datetime, source: Any = None, top: str = TOO) -> Steward:
    text = (
        f'[ca]\ntrust_domain = "example.org"\n{top}\n{section}\nlegacy_binding = true\nnames = ["keep.example.org"]\n'
    )
    accepted = policy_file.parse(text.encode())
    return Steward(
        Authority.create(Root.create(at - timedelta(days=1)), accepted, at - timedelta(days=1)),
        accepted,
        audience=AUDIENCE,
        clock=lambda: at,
        appraiser=Appraiser(source=source),
    )


def refused(steward: Steward, request: bytes) -> tuple[str, ...]:
    with pytest.raises(Refused) as caught:
        steward.certify_enarx(request)
    return caught.value.failed


def test_a_real_request_of_a_keep_on_snp_is_certified():
    steward = enarx_steward(f'[snp]\nhash = ["{MILAN}"]\nsigner = ["{AUTHOR}"]\npolicy_flags = ["SMT"]', IN_WINDOW)
    request = SNP_CSR.read_bytes()
    leaf = x509.load_der_x509_certificate(steward.certify_enarx(request))
    asked = x509.load_der_x509_csr(request)
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert leaf.public_key().public_bytes(*form) == asked.public_key().public_bytes(*form)
    found = claims_of(leaf)
    assert (found.claims.backend, found.claims.hardware) == ("snp", True)
    assert (found.claims.nonce_bound, found.claims.package) == (False, None)
    assert (found.claims.measurement, found.claims.signers[0]) == (MILAN, AUTHOR)
    assert found.evidence.nonce is None


@pytest.mark.parametrize(
    ("section", "check"),
    [
        (f'[snp]\nhash = ["{"ab" * 48}"]', "snp.policy.workload"),
        (f'[snp]\nsigner = ["{"ab" * 48}"]', "snp.policy.workload"),
        (f'[snp]\nsigner = ["{AUTHOR}"]\nhash_blacklist = ["{MILAN}"]', "snp.policy.denied"),
        (f'[snp]\nhash = ["{MILAN}"]\nid_key_digest = ["{"ab" * 48}"]', "snp.policy.workload"),
        (f'[snp]\nhash = ["{MILAN}"]\nabi = "1.52"', "snp.policy.abi"),
        (f'[snp]\nhash = ["{MILAN}"]\npolicy_flags = []', "snp.policy.guest"),
        (f'[snp]\nhash = ["{MILAN}"]\nplatform_info_flags = "TSME"', "snp.policy.platform"),
        (f'[snp]\nhash = ["{MILAN}"]\nminimum_tcb = {{ milan = {{ ucode = 94 }} }}', "snp.policy.tcb"),
        (f'[snp]\nhash = ["{MILAN}"]\nmeasured_package = true', "binding.launch-package"),
        (f'[snp]\nhash = ["{MILAN}"]\npackages = ["{PACKAGE}"]', "binding.packages"),
        (f'[sgx]\nhash = ["{XEON}"]', "policy.kind"),
    ],
)
def test_a_real_request_of_a_keep_on_snp_is_refused_under_a_policy_that_wants_another(section, check):
    assert refused(enarx_steward(section, IN_WINDOW), SNP_CSR.read_bytes()) == (check,)


def test_lists_in_a_real_request_count_only_where_the_policy_says_so_and_while_they_hold():
    section = f'[snp]\nhash = ["{MILAN}"]'
    assert refused(enarx_steward(section, IN_WINDOW, top=""), SNP_CSR.read_bytes()) == ("snp.policy.revocation",)
    late = enarx_steward(section, datetime(2023, 6, 1, tzinfo=UTC))
    assert refused(late, SNP_CSR.read_bytes()) == ("snp.policy.revocation",)


def test_a_real_request_of_a_keep_on_sgx_needs_the_quoting_enclaves_identity_of_the_store():
    steward = enarx_steward(f'[sgx]\nhash = ["{XEON}"]', IN_WINDOW)
    assert refused(steward, SGX_CSR.read_bytes()) == ("evidence.collateral",)


def test_a_real_request_of_a_keep_on_sgx_is_certified_where_its_status_is_accepted_by_name():
    at = datetime(2025, 9, 1, tzinfo=UTC)
    held = load_endorsements("sgx", {"collateral.json": (SGX_CSR.parent / "collateral.json").read_bytes()})
    section = f'[sgx]\nhash = ["{XEON}"]\nsigner = ["{MRSIGNER}"]'
    request = SGX_CSR.read_bytes()
    assert refused(enarx_steward(section, at, Held(held)), request) == ("sgx.policy.status",)
    accepting = section + '\naccept_statuses = ["OutOfDate"]'
    leaf = x509.load_der_x509_certificate(enarx_steward(accepting, at, Held(held)).certify_enarx(request))
    assert (claims_of(leaf).claims.backend, claims_of(leaf).claims.status) == ("sgx", "OutOfDate")
    # The TCB info of 2023 in the request does not take the place of the store's.
    advisories = accepting + '\nallowed_advisories = ["INTEL-SA-00586"]'
    assert refused(enarx_steward(advisories, at, Held(held)), request) == ("sgx.policy.advisories",)
    features = accepting + "\nenclave_product_id = 7"
    assert refused(enarx_steward(features, at, Held(held)), request) == ("sgx.policy.identity",)


def sgx_evidence(intel: Any, keep: Any, info: dict[str, Any]) -> bytes:
    """What a Keep of Enarx's on SGX puts into its request, with the vendor in miniature."""
    text = json.dumps(info, separators=(",", ":")).encode()
    answer = b'{"tcbInfo":' + text + b',"signature":"' + intel.sign(intel.signer.key, text).hex().encode() + b'"}'
    quote = intel.quote("SGX", body=intel.enclave(report_data=legacy_report_data(keep.spki, "sgx")))
    lists = [bytes.fromhex(intel.crl(authority)) for authority in (intel.root, intel.ca)]
    pairs = [sequence([element(der.UTF8_STRING, b"https://host"), crl]) for crl in lists]
    chain = sequence([intel.signer.der, intel.root.der])
    tcb = sequence([chain, element(der.OCTET_STRING, answer)])
    return sequence([element(der.OCTET_STRING, quote), sequence([sequence(pairs)]), tcb])


@pytest.mark.parametrize(
    ("issued", "accepted"), [("2026-05-31T00:00:00Z", False), ("2026-05-10T00:00:00Z", True)], ids=["newer", "older"]
)
def test_tcb_info_in_a_request_of_enarxs_takes_the_place_of_an_older_one_only(keep, intel, sgx, issued, accepted):
    """It would have the platform be out of date; the identity of the quoting enclave is the store's in any case."""
    info = intel.tcb_info("SGX", issueDate=issued)
    worse = info | {"tcbLevels": [level | {"tcbStatus": "OutOfDate"} for level in info["tcbLevels"]]}
    request = keep.request(oid="1.3.6.1.4.1.58270.1.2", marking=sgx_evidence(intel, keep, worse))
    scene = make_scene(keep, sgx, "legacy_binding = true", top=TOO)
    if accepted:
        leaf = x509.load_der_x509_certificate(scene.steward.certify_enarx(request))
        assert claims_of(leaf).claims.status == "UpToDate"
    else:
        assert refused(scene.steward, request) == ("sgx.policy.status",)


def test_where_packages_are_allowed_by_name_a_protocol_that_names_none_is_refused():
    for rule, check in (("allow", "packages.allowed"), ("deny", "packages.denied")):
        steward = enarx_steward(f'[packages]\n{rule} = ["{PACKAGE}"]\n[snp]\nhash = ["{MILAN}"]', IN_WINDOW)
        assert refused(steward, SNP_CSR.read_bytes()) == (check,)


def test_without_legacy_binding_a_request_of_enarxs_is_refused():
    text = f'[ca]\ntrust_domain = "a"\n{TOO}\n[snp]\nhash = ["{MILAN}"]\nnames = ["localhost"]\n'
    steward = enarx_steward(f'[snp]\nhash = ["{MILAN}"]', IN_WINDOW)
    steward.replace_policy(policy_file.parse(text.encode()))
    assert refused(steward, SNP_CSR.read_bytes()) == ("binding.form",)


@pytest.mark.parametrize(("oid", "check"), [(2, "policy.kind"), (3, "binding.form")])
def test_what_is_in_a_request_that_is_refused_anyhow_is_not_read(keep, oid, check):
    steward = enarx_steward(f'[snp]\nhash = ["{MILAN}"]', IN_WINDOW)
    text = f'[ca]\ntrust_domain = "a"\n[snp]\nhash = ["{MILAN}"]\nnames = ["localhost"]\n'
    steward.replace_policy(policy_file.parse(text.encode()))
    request = keep.request(oid=f"1.3.6.1.4.1.58270.1.{oid}", marking=b"nothing that could be read")
    assert refused(steward, request) == (check,)


def test_evidence_of_one_key_in_a_request_of_another_is_refused_also_by_a_root_that_signs_itself(keep):
    """Enarx's Steward does not look at the binding if its own certificate is self-signed."""
    asked = x509.load_der_x509_csr(SNP_CSR.read_bytes())
    value = asked.extensions.get_extension_for_oid(x509.ObjectIdentifier("1.3.6.1.4.1.58270.1.3")).value
    assert isinstance(value, x509.UnrecognizedExtension)
    steward = enarx_steward(f'[snp]\nhash = ["{MILAN}"]', IN_WINDOW)
    root = x509.load_pem_x509_certificate(steward.authority.root_pem.encode())
    assert root.issuer == root.subject
    stolen = keep.request(oid="1.3.6.1.4.1.58270.1.3", marking=value.value)
    assert refused(steward, stolen) == ("binding.report-data",)
    with pytest.raises(MalformedRequest, match="cannot be read"):
        steward.certify_enarx(keep.request(oid="1.3.6.1.4.1.58270.1.3", marking=value.value[:-1]))


# The store of `enarx_collateral`.


def filled(directory: Path, amd: Any, *, crl: bytes | None = None, vcek: bool = True) -> StoredCollateral:
    store = Store(directory, anchors=amd.anchors)
    if vcek:
        store.put("vcek", amd.vek(amd.extensions()).der)
    if crl is not None:
        store.put("amd-crl", crl)
    return StoredCollateral(store)


def test_what_the_store_holds_is_used(keep, amd, snp, tmp_path):
    make_scene(keep, snp, source=filled(tmp_path / "store", amd, crl=amd.crl())).ask()


def test_what_the_store_lacks_is_named_with_the_command_that_fetches_it(keep, amd, snp, tmp_path):
    refusal = make_scene(keep, snp, source=filled(tmp_path / "store", amd)).refusal()
    assert refusal.failed == ("evidence.collateral",)
    (check,) = [check for check in refusal.checks if not check.ok]
    assert "revocation list of milan (vcek) is missing" in check.actual
    assert "enarx-deploy collateral fetch --product milan" in check.actual


def test_a_chips_certificate_of_the_requesters_is_used_with_the_stores_list(keep, amd, snp, tmp_path):
    sent = {"vcek.der": amd.vek(amd.extensions()).der}
    good = filled(tmp_path / "good", amd, crl=amd.crl(), vcek=False)
    make_scene(keep, snp, source=good).ask(endorsements=sent)
    revoking = filled(tmp_path / "bad", amd, crl=amd.crl(amd.ask.certificate.serial_number), vcek=False)
    refusal = make_scene(keep, snp, source=revoking).refusal(endorsements=sent)
    assert "snp.certificate.revoked" in refusal.failed


def fill_with_intels(directory: Path, intel: Any, document: bytes) -> StoredCollateral:
    store = Store(directory, anchors=intel.anchors)
    for offer in offers({"collateral.json": document}):
        store.put(offer.kind, offer.data, chain=offer.chain, role=offer.role)
    return StoredCollateral(store)


def test_a_requester_cannot_go_back_behind_what_the_store_has_seen_end(keep, intel, sgx, tmp_path):
    ended = intel.tcb_info("SGX", issueDate="2026-05-25T00:00:00Z", nextUpdate="2026-05-30T00:00:00Z")
    source = fill_with_intels(tmp_path / "store", intel, intel.collateral("SGX", tcb_info=ended))
    scene = make_scene(keep, sgx, source=source, top=TOO)
    assert scene.refusal().failed == ("evidence.collateral",)
    older = {"collateral.json": intel.collateral("SGX")}
    assert scene.refusal(endorsements=older).failed == ("evidence.collateral",)
    newer = intel.tcb_info("SGX", issueDate="2026-05-31T00:00:00Z")
    scene.ask(endorsements={"collateral.json": intel.collateral("SGX", tcb_info=newer)})


def test_a_damaged_store_is_a_refusal_and_a_requester_cannot_make_up_for_it(keep, intel, sgx, amd, snp, tmp_path):
    source = fill_with_intels(tmp_path / "intel", intel, intel.collateral("SGX"))
    for entry in (tmp_path / "intel" / "entries" / "tcb-info").rglob("*.json"):
        entry.write_text("{}")
    scene = make_scene(keep, sgx, source=source, top=TOO)
    assert scene.refusal(endorsements={"collateral.json": intel.collateral("SGX")}).failed == ("evidence.collateral",)
    source = filled(tmp_path / "amd", amd, crl=amd.crl(amd.ask.certificate.serial_number), vcek=False)
    for blob in (tmp_path / "amd" / "blobs").iterdir():
        blob.write_bytes(b"damaged")
    sent = {"vcek.der": amd.vek(amd.extensions()).der, "crl.der": amd.crl()}
    refusal = make_scene(keep, snp, source=source, top=TOO).refusal(endorsements=sent)
    assert refusal.failed == ("evidence.collateral",)
    assert "damaged" in next(check.actual for check in refusal.checks if not check.ok)


def test_a_list_that_is_replaced_while_it_is_read_is_read_anew(keep, amd, snp, tmp_path):
    source = filled(tmp_path / "store", amd, crl=amd.crl(days=(-2, 30)), vcek=False)
    store = source.store
    old = store.entry(Item("amd-crl", ("milan", "vcek")))
    store.put("amd-crl", amd.crl())
    store.sweep()
    entries = iter([old])
    source.store = Replaced(store, entries)
    make_scene(keep, snp, source=source).ask(endorsements={"vcek.der": amd.vek(amd.extensions()).der})
    assert next(entries, None) is None


class Replaced:
    """A store of which a reader meets old entries first, as when another process replaces them meanwhile."""

    def __init__(self, store: Store, old: Any) -> None:
        self._store = store
        self._old = old

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def entry(self, item: Item) -> Any:
        return next(self._old, None) or self._store.entry(item)


def test_a_steward_as_a_process_issues_on_the_real_request_of_a_keep_on_snp(start):
    """AMD's lists in it ended in 2023, so that the policy has to name revocation off."""
    section = f'[snp]\nhash = ["{MILAN}"]\nlegacy_binding = true\nnames = ["localhost"]\n'
    text = f'[ca]\ntrust_domain = "example.org"\n{section}revocation = "off"\n'
    answer = start(policy=text).client.enarx(SNP_CSR.read_bytes())
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/octet-stream")
    path = [x509.load_der_x509_certificate(one.raw) for one in der.children(der.whole(answer.content, der.SEQUENCE))]
    assert path[0].issuer == path[0].subject
    for parent, child in pairwise(path):
        child.verify_directly_issued_by(parent)
    assert claims_of(path[-1]).claims.backend == "snp"


def test_a_steward_as_a_process_refuses_it_without_a_reason_in_the_answer_and_with_one_in_the_log(start):
    section = f'[snp]\nhash = ["{MILAN}"]\nlegacy_binding = true\nnames = ["localhost"]\n'
    running = start(policy=f'[ca]\ntrust_domain = "example.org"\n{section}')
    answer = running.client.enarx(SNP_CSR.read_bytes())
    assert (answer.status_code, answer.content) == (400, b"")
    running.process.terminate()
    assert "refused: snp.policy.revocation" in running.process.communicate(timeout=120)[1]

"""The authority below a corporate root, and replaced by another: what is accepted, and what clients make of it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from enarx_attestation import Sheet
from enarx_issuers import chain
from enarx_steward import ceremony, policy, renewal, tls
from enarx_steward import state as files
from enarx_steward.ca import Leaf
from enarx_steward.errors import ConfigurationError
from enarx_steward.issuance import RULES
from enarx_steward.record import find
from enarx_steward.root import key_usage

from .conftest import POLICY
from .test_hierarchy import CLAIMS, Service, openssl_says, python_says

KILLED_ROLLS = Path(__file__).parent / "killed_rolls.py"
NOW = datetime.now(UTC)
ACCEPTED = policy.parse(POLICY.encode())


class Corporate:
    """A corporate root; the arguments of `sign` are defects."""

    def __init__(self, *, path_length: int | None = None) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "Example Corp")])
        self.root = self._certificate(name, self._key, name, path_length=path_length)

    @property
    def pem(self) -> str:
        return self.root.public_bytes(Encoding.PEM).decode()

    def sign(self, request_pem: bytes, **changes: object) -> bytes:
        """The chain that comes back: the Steward's certificate, and the root."""
        request = x509.load_pem_x509_csr(request_pem)
        assert request.is_signature_valid
        certificate = self._certificate(request.subject, request, self.root.subject, **({"path_length": 1} | changes))
        return certificate.public_bytes(Encoding.PEM) + self.pem.encode()

    def _certificate(self, subject, holder, issuer, *, path_length=None, ca=True, usage="key_cert_sign", names=None,
                     begins=NOW - timedelta(days=1), ends=NOW + timedelta(days=900)):  # fmt: skip
        builder = (
            x509.CertificateBuilder(issuer, subject, holder.public_key(), x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(ends)
            .add_extension(x509.BasicConstraints(ca, path_length if ca else None), True)
            .add_extension(key_usage(usage), True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(holder.public_key()), False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), False)
        )
        if names is not None:
            builder = builder.add_extension(names, True)
        return builder.sign(self._key, SHA256())


def only(*names: x509.GeneralName) -> x509.NameConstraints:
    return x509.NameConstraints(list(names), None)


def test_below_a_corporate_root_clients_may_pin_that_or_the_stewards_own(state, keep, tmp_path):
    corporate, own = Corporate(), files.load_root(state, NOW)
    before = files.load_authority(state, ACCEPTED, NOW)
    ceremony.install(state, corporate.sign(ceremony.request(state, NOW)), ACCEPTED, NOW)
    authority = files.load_authority(state, ACCEPTED, NOW)
    assert authority.root.pems == [own.pem, corporate.pem]
    assert authority.certificate == before.certificate  # the name is the same, and so is the key
    service = Service(authority, keep, tmp_path, ACCEPTED)
    for pem in authority.root.pems:
        service.root.write_text(pem)
        assert python_says(service, "localhost") == ""
        assert openssl_says(service, "localhost") == ""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"path_length": 0}, "has the path length 0, and 1 authorities are below it"),
        ({"ca": False}, "is not an authority that may sign certificates"),
        ({"usage": "digital_signature"}, "is not an authority that may sign certificates"),
        ({"ends": NOW - timedelta(hours=1)}, "is valid from"),
        ({"begins": NOW + timedelta(hours=1)}, "is valid from"),
        ({"names": only(x509.DNSName("corp.example"))}, "permitted subtree violation"),
        ({"names": x509.NameConstraints(None, [x509.DNSName("keep.example.org")])}, "excluded subtree violation"),
        ({"names": only(x509.UniformResourceIdentifier("corp.example"))}, "constrains URIs"),
    ],
    ids=["path-length-0", "no-authority", "usage", "ended", "not-yet", "other-names", "excluded-name", "uris"],
)
def test_a_corporate_certificate_that_will_not_do_is_refused_and_changes_nothing(state, changes, message):
    request = ceremony.request(state, NOW)
    with pytest.raises(ConfigurationError, match=message):
        ceremony.install(state, Corporate().sign(request, **changes), ACCEPTED, NOW)
    assert not (state / "chain.pem").exists()
    assert files.load_root(state, NOW).above == ()


def test_the_listener_too_leads_to_each_root_that_clients_may_pin(state):
    own, corporate = tls.Own(state, "https://localhost:1"), Corporate()
    first = own.read(NOW)
    assert own.read(NOW) == first
    ceremony.install(state, corporate.sign(ceremony.request(state, NOW)), ACCEPTED, NOW)
    for _ in range(2):
        leaf, *sent = x509.load_pem_x509_certificates(own.read(NOW))
        for issued, issuer in pairwise([leaf, *sent, corporate.root]):
            issued.verify_directly_issued_by(issuer)
        sent[0].verify_directly_issued_by(files.load_root(state, NOW).certificate)
        assert own.read(NOW) == own.read(NOW) != first


def test_chains_that_are_none_are_refused(state):
    request = ceremony.request(state, NOW)
    good = Corporate().sign(request)
    own, separator, root = good.rpartition(b"-----BEGIN CERTIFICATE-----")
    defects = {
        "not a list of certificates": b"nonsense",
        "was not issued by": own + Corporate().pem.encode(),
        "not for this Steward's key": separator + root,
        "has 8 certificates": good * 4,
        "has the path length 1, and 2 authorities": Corporate(path_length=1).sign(request),
    }
    for message, pem in defects.items():
        with pytest.raises(ConfigurationError, match=message):
            ceremony.install(state, pem, ACCEPTED, NOW)


def test_after_a_roll_clients_of_the_old_root_and_of_the_new_are_served(state, keep, tmp_path):
    old = files.load_root(state, NOW)
    old_key = (state / "ca.key").read_bytes()
    ceremony.roll(state, NOW)
    authority = files.load_authority(state, ACCEPTED, NOW)
    assert authority.root.pem != old.pem
    assert authority.root.pems == [authority.root.pem, old.pem]
    assert old_key not in [path.read_bytes() for path in state.rglob("*") if path.is_file()]
    service = Service(authority, keep, tmp_path, ACCEPTED)
    for pem in authority.root.pems:
        service.root.write_text(pem)
        assert python_says(service, "localhost") == ""
        assert openssl_says(service, "localhost") == ""
    with pytest.raises(ConfigurationError, match="there is another root above this one already"):
        ceremony.roll(state, NOW)
    ceremony.finish(state, NOW)
    service = Service(files.load_authority(state, ACCEPTED, NOW), keep, tmp_path, ACCEPTED)
    assert python_says(service, "localhost") == ""
    service.root.write_text(old.pem)
    assert python_says(service, "localhost") != ""


def test_a_running_steward_takes_a_roll_up_and_old_pins_still_hold(start, state, keep):
    running = start()
    old = running.root.read_text()
    ceremony.roll(state, datetime.now(UTC))  # that of the running one, whose root may be younger than this module
    running.process.send_signal(signal.SIGHUP)
    while find(state).reloads == 0:
        time.sleep(0.01)
    info = running.client.info()
    assert info["roots_pem"] == [info["root_pem"], old]
    assert info["root_pem"] == running.root.read_text() != old
    issued = [certificate.public_bytes(Encoding.DER) for certificate in running.client.certify(keep)]
    for pem in info["roots_pem"]:
        chain.check(issued, keep.request(), pem)


def test_what_was_issued_before_a_roll_can_be_renewed_after_it(state, keep):
    before = files.load_authority(state, ACCEPTED, NOW)
    leaf = Leaf(key=keep.key.public_key(), claims=CLAIMS, grant=ACCEPTED.grants["nil"], trust_domain="example.org")
    issued = renewal.read([before.issue(leaf, NOW), *before.issuers])
    outcomes = []
    for change in (None, ceremony.roll, ceremony.finish):
        if change is not None:
            change(state, NOW)
        sheet = Sheet(RULES)
        renewal.check_previous(issued, files.load_authority(state, ACCEPTED, NOW), ACCEPTED, NOW, sheet)
        outcomes.append({check.id: check.ok for check in sheet.done()}["renewal.certificate"])
    assert outcomes == [True, True, False]


@pytest.mark.parametrize("done", [0, 1, 2, 3])
def test_a_roll_that_was_cut_off_is_completed(state, tmp_path, done):
    old = files.load_root(state, NOW)
    ceremony.roll(state, NOW)
    new = {name: (state / name).read_bytes() for name in ("ca.key", "root.pem", "chain.pem")}
    (state / "change").mkdir()
    for name in list(new)[done:]:
        (state / name).replace(state / "change" / name)
    assert files.load_root(state, NOW).pem == new["root.pem"].decode() != old.pem
    assert not (state / "change").exists()


def test_a_roll_that_is_killed_at_any_step_leaves_the_old_root_or_the_new_one(tmp_path):
    told = subprocess.run([sys.executable, KILLED_ROLLS, tmp_path], capture_output=True, text=True, timeout=300)
    assert told.returncode == 0, told.stderr
    ends = [json.loads(line) for line in told.stdout.splitlines()]
    replaced = [end["found"] != end["old"] for end in ends]
    assert replaced == sorted(replaced)
    assert {False, True} == set(replaced)
    for end, new in zip(ends, replaced, strict=True):
        assert end["roots"] == ([end["found"], end["old"]] if new else [end["old"]])
        assert ("chain.pem" in end["files"], "change" in end["files"]) == (new, False)


def test_the_commands(enarx_deploy, tmp_path):
    state = tmp_path / "state-of-steward"
    place = ("--state", str(state))
    assert enarx_deploy("steward", "--init", *place).returncode == 0
    (shown,) = json.loads(enarx_deploy("steward", "ca", "show", *place, "--json").stdout)["roots"]
    root = x509.load_pem_x509_certificate((state / "root.pem").read_bytes())
    assert shown["sha256"] == root.fingerprint(SHA256()).hex()
    request = enarx_deploy("steward", "ca", "request", *place).stdout
    corporate = Corporate()
    (tmp_path / "chain.pem").write_bytes(corporate.sign(request.encode()))
    installed = json.loads(
        enarx_deploy("steward", "ca", "install", str(tmp_path / "chain.pem"), *place, "--json").stdout
    )
    assert [one["subject"] for one in installed["roots"]] == [root.subject.rfc4514_string(), "O=Example Corp"]
    refused = enarx_deploy("steward", "ca", "roll", *place)
    assert (refused.returncode, "there is another root above" in refused.stderr) == (1, True)
    assert enarx_deploy("steward", "ca", "finish", *place).returncode == 0
    rolled = json.loads(enarx_deploy("steward", "ca", "roll", *place, "--json").stdout)
    assert rolled["roots"][1]["sha256"] == shown["sha256"]
    assert "deploy them anew" in enarx_deploy("steward", "ca", "finish", *place).stdout
    missing = enarx_deploy("steward", "ca", "install", str(tmp_path / "none.pem"), *place)
    assert (missing.returncode, "hint" in missing.stderr or "none.pem" in missing.stderr) == (2, True)


def test_a_directory_that_is_not_there_is_named_with_what_makes_one(tmp_path):
    with pytest.raises(ConfigurationError, match="No such file or directory") as caught:
        files.load_root(tmp_path / "none", NOW)
    assert "steward --init" in caught.value.hint


@pytest.mark.parametrize("word", ["show", "request", "roll", "finish"])
def test_the_commands_make_no_root_on_the_way(enarx_deploy, tmp_path, word):
    (tmp_path / "other").mkdir(mode=0o700)
    ended = enarx_deploy("steward", "ca", word, "--state", str(tmp_path / "other"))
    assert (ended.returncode, "holds no Steward's root" in ended.stderr) == (1, True)
    assert list((tmp_path / "other").iterdir()) == []

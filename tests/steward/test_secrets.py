"""Secrets of the Steward: to whom they are released, and who could open them."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from enarx_attestation import report_data
from enarx_steward import grants, policy
from enarx_steward.errors import ConfigurationError

from .conftest import PACKAGE, POLICY, launch, make_state

SECRET = b"correct horse battery staple"
OTHER = "sha256:" + "cd" * 32
SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


def section(name: str, file: Path, kinds: str = '"nil"', package: str = PACKAGE) -> str:
    return f'[[secret]]\nname = "{name}"\nfile = "{file}"\nkinds = [{kinds}]\npackages = ["{package}"]\n'


class SmallOrder:
    """Of a key pair the public half alone."""

    def __init__(self, point: bytes) -> None:
        self._point = point

    def public_key(self) -> X25519PublicKey:
        return X25519PublicKey.from_public_bytes(self._point)


DEFECTS = {"gone": b"", "mode": SECRET, "large": bytes(grants.MAX_SECRET + 1), "link": SECRET}


@pytest.fixture(scope="module")
def vault(tmp_path_factory):
    """Secrets in files that nobody else may read, and files that no secret may be in."""
    place = tmp_path_factory.mktemp("vault")
    for name, content in {"password": SECRET, "other": b"of another package", "rotated": SECRET, **DEFECTS}.items():
        (place / name).write_bytes(content)
        (place / name).chmod(0o640 if name == "mode" else 0o600)
    (place / "gone").unlink()
    (place / "link").rename(place / "elsewhere")
    (place / "link").symlink_to(place / "elsewhere")
    return place


@pytest.fixture(scope="module")
def steward(vault, tmp_path_factory, http):
    """A Steward with secrets for the package of these tests, and one for another."""
    names = ("password", "rotated", *DEFECTS)
    rules = "".join(section(name, vault / name) for name in names) + section("other", vault / "other", package=OTHER)
    state = make_state(tmp_path_factory.mktemp("steward") / "state")
    (state / "steward.toml").write_text(f"{POLICY}\n[log]\npublic = true\n{rules}")
    running = launch(state, http)
    yield running
    assert running.end() == 0


@dataclass
class Claimant:
    """What the Keep does, in Python alone: it shares no line with the Keep's own program."""

    package: str = PACKAGE
    key: X25519PrivateKey | SmallOrder = field(default_factory=X25519PrivateKey.generate)

    @property
    def spki(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def ask(self, client, *names: str, nonce: bytes | None = None, purpose: str = "secret-release", **changes: object):
        self.nonce = nonce or client.nonce()
        self.audience = client.audience
        bound = {"nonce": self.nonce, "spki": self.spki, "package": self.package, "audience": self.audience}
        data = report_data(purpose=purpose, **bound)
        evidence = f'{{"kind":"nil","package":"{self.package}","report_data":"{data.hex()}"}}'.encode()
        body = {
            "names": names,
            "key": base64.b64encode(self.spki).decode(),
            "nonce": base64.b64encode(self.nonce).decode(),
            "evidence": {"kind": "nil", "data": base64.b64encode(evidence).decode()},
        }
        return client.http.post(f"{client.url}/v1/secrets", json=body | changes)

    def fields(self, label: bytes, *more: bytes) -> bytes:
        parts = (self.audience.encode(), self.package.encode(), self.nonce, *more)
        return label + b"".join(len(part).to_bytes(4, "big") + part for part in parts)

    def open(self, name: str, sealed: bytes) -> bytes:
        return SUITE.decrypt(sealed, self.key, self.fields(b"wasm-tee/secret/v1", name.encode()))


def test_a_secret_is_sealed_for_the_one_that_asked_and_signed_by_the_issuer_of_certificates(steward, keep):
    claimant = Claimant()
    answer = claimant.ask(steward.client, "password")
    assert answer.status_code == 200, answer.text
    assert SECRET not in answer.content
    assert base64.b64encode(SECRET) not in answer.content
    released = answer.json()
    (one,) = released["secrets"]
    sealed = base64.b64decode(one["sealed"])
    assert claimant.open("password", sealed) == SECRET
    for wrong in (Claimant(), Claimant(package=OTHER)):
        wrong.nonce, wrong.audience = claimant.nonce, claimant.audience
        with pytest.raises((InvalidTag, ValueError)):
            wrong.open("password", sealed)
    with pytest.raises((InvalidTag, ValueError)):
        claimant.open("other", sealed)
    issuer = steward.client.certify(keep)[1].public_key()
    message = claimant.fields(b"wasm-tee/release/v1", claimant.spki, b"password", sealed)
    signature = base64.b64decode(released["signature"])
    issuer.verify(signature, message, ec.ECDSA(SHA256()))
    with pytest.raises(InvalidSignature):
        issuer.verify(signature, message + b"\0", ec.ECDSA(SHA256()))


def test_what_the_file_holds_at_the_time_is_what_is_released(steward, vault):
    (vault / "rotated").write_bytes(b"rotated")
    claimant = Claimant()
    (one,) = claimant.ask(steward.client, "rotated").json()["secrets"]
    assert claimant.open("rotated", base64.b64decode(one["sealed"])) == b"rotated"


def test_the_log_says_what_was_released_and_what_was_not(steward):
    Claimant().ask(steward.client, "password")
    Claimant().ask(steward.client, "password", "other")
    entries = steward.client.http.get(f"{steward.client.url}/v1/log?limit=1000").json()["entries"][-2:]
    released, refused = (entry["body"] for entry in entries)
    assert (released["decision"], released["secrets"], released["package"]) == ("released", ["password"], PACKAGE)
    assert (refused["decision"], refused["checks"]) == ("refused", ["secret.granted"])
    assert SECRET.decode() not in json.dumps(entries)


@pytest.mark.parametrize("names", [["other"], ["password", "other"], ["unheard-of"]])
def test_it_is_all_or_nothing(steward, names):
    refused = Claimant().ask(steward.client, *names)
    assert (refused.status_code, refused.json()["checks"]) == (403, ["secret.granted"])
    assert "sealed" not in refused.json()


def test_evidence_for_a_certificate_releases_nothing(steward):
    refused = Claimant().ask(steward.client, "password", purpose="tls-server")
    assert (refused.status_code, refused.json()["checks"]) == (403, ["binding.report-data"])


def test_a_nonce_answers_once(steward):
    claimant = Claimant()
    assert claimant.ask(steward.client, "password").status_code == 200
    refused = claimant.ask(steward.client, "password", nonce=claimant.nonce)
    assert (refused.status_code, refused.json()["checks"]) == (403, ["nonce.open"])


def test_a_package_that_is_denied_gets_no_secret(start, vault):
    steward = start(policy=f'{POLICY}\n[packages]\ndeny = ["{PACKAGE}"]\n{section("password", vault / "password")}')
    refused = Claimant().ask(steward.client, "password")
    assert (refused.status_code, refused.json()["checks"]) == (403, ["packages.denied"])


def test_a_kind_without_hardware_must_be_named(start, vault):
    kvm = '[kvm]\nany_workload = true\nnames = ["localhost"]\n'
    steward = start(policy=f"{POLICY}\n{kvm}{section('password', vault / 'password', kinds=chr(34) + 'kvm' + chr(34))}")
    refused = Claimant().ask(steward.client, "password")
    assert (refused.status_code, refused.json()["checks"]) == (403, ["secret.granted"])


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_file_that_cannot_be_used_is_told_to_the_log_alone(steward, vault, defect):
    answer = Claimant().ask(steward.client, defect)
    assert (answer.status_code, answer.json()["code"]) == (503, "secret")
    assert str(vault) not in answer.text


@pytest.mark.parametrize(
    ("defect", "change"),
    [
        ("no names", {"names": []}),
        ("33 names", {"names": [f"n{number}" for number in range(33)]}),
        ("a path", {"names": ["../password"]}),
        ("no key", {"key": ""}),
        ("not a key", {"key": base64.b64encode(b"key").decode()}),
        ("unknown field", {"csr": ""}),
    ],
)
def test_a_request_that_cannot_be_read(steward, defect, change):
    answer = Claimant().ask(steward.client, "password", **change)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed"), defect


def test_a_key_of_another_kind_is_no_key_to_seal_to(steward, keep):
    assert isinstance(steward.client.certify(keep)[0], x509.Certificate)
    answer = Claimant().ask(steward.client, "password", key=base64.b64encode(keep.spki).decode())
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")


SMALL_ORDER = {
    "zero": bytes(32),
    "one": (1).to_bytes(32, "little"),
    "order-eight": bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    "minus-one": (2**255 - 20).to_bytes(32, "little"),
    "zero-unreduced": (2**255 - 19).to_bytes(32, "little"),
}


@pytest.mark.parametrize("point", SMALL_ORDER.values(), ids=SMALL_ORDER.keys())
def test_a_key_of_small_order_is_no_key_to_seal_to(steward, point):
    """Whatever is sealed to it, everybody could open."""
    claimant = Claimant(key=SmallOrder(point))
    answer = claimant.ask(steward.client, "password")
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed"), answer.text


@pytest.mark.parametrize(
    ("rule", "named"),
    [
        ('name = "a"\nfile = "/a"\nkinds = ["nil"]\n', "secret.0"),
        ('name = "a"\nfile = "/a"\npackages = ["sha256:{digest}"]\n', "secret.0"),
        ('name = "A"\nfile = "/a"\nkinds = ["nil"]\npackages = ["sha256:{digest}"]\n', "secret.0.name"),
        ('name = "a"\nfile = "a"\nkinds = ["nil"]\npackages = ["sha256:{digest}"]\n', "secret.0.file"),
        ('name = "a"\nfile = "/a"\nkinds = []\npackages = ["sha256:{digest}"]\n', "secret.0.kinds"),
        ('name = "a"\nfile = "/a"\nkinds = ["snp"]\npackages = ["sha256:{digest}"]\n', "secret.0.kinds"),
        ('name = "a"\nfile = "/a"\nkinds = "nil"\npackages = ["sha256:{digest}"]\n', "secret.0.kinds"),
        ('name = "a"\nfile = "/a"\nkinds = ["nil"]\npackages = []\n', "secret.0.packages"),
        ('name = "a"\nfile = "/a"\nkinds = ["nil"]\npackages = ["*"]\n', "secret.0.packages"),
        ('name = "a"\nfile = "/a"\nkind = ["nil"]\npackages = ["sha256:{digest}"]\n', "secret.0.kind"),
    ],
)
def test_a_rule_that_releases_to_nobody_in_particular_is_an_error_with_its_place(tmp_path, rule, named):
    file = tmp_path / "steward.toml"
    file.write_text(f"{POLICY}\n[[secret]]\n{rule.replace('{digest}', 'ab' * 32)}")
    with pytest.raises(ConfigurationError, match=f"`{named}") as refused:
        policy.load(file)
    assert str(refused.value).startswith(f"{file}:")

"""The root's key in a PKCS#11 token, with SoftHSM as the device."""

from __future__ import annotations

import os
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from enarx_steward import ceremony, hsm, policy
from enarx_steward import state as files
from enarx_steward.errors import ConfigurationError

from .conftest import POLICY, launch

pkcs11 = pytest.importorskip("pkcs11", reason="needs python-pkcs11")
MODULES = [Path(place) / "softhsm/libsofthsm2.so" for place in ("/usr/lib", "/usr/lib64", "/usr/lib/x86_64-linux-gnu")]
MODULE = next((module for module in MODULES if module.exists()), None)
if MODULE is None or shutil.which("softhsm2-util") is None:
    pytest.skip("needs SoftHSM", allow_module_level=True)

NOW = datetime.now(UTC)
PIN = "739201"
ACCEPTED = policy.parse(POLICY.encode())


@pytest.fixture
def token(tmp_path, monkeypatch):
    """A device with one empty token, and a PIN in a file."""
    (tmp_path / "tokens").mkdir()
    (tmp_path / "softhsm2.conf").write_text(f"directories.tokendir = {tmp_path / 'tokens'}\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(tmp_path / "softhsm2.conf"))
    words = ["--init-token", "--free", "--label", "steward", "--pin", PIN, "--so-pin", "5555"]
    subprocess.run(["softhsm2-util", *words], check=True, capture_output=True)
    (tmp_path / "pin").write_text(PIN + "\n")
    (tmp_path / "pin").chmod(0o600)
    yield tmp_path
    pkcs11.unload(str(MODULE))  # which looks for its configuration once


@pytest.fixture
def configure(state, token):
    """Write ca.toml; the arguments make it a bad one, and None takes a key out."""

    def configure(**changes: str | None) -> Path:
        keys = {"module": str(MODULE), "token": "steward", "key": "root", "pin_file": str(token / "pin")} | changes
        text = "".join(f'{key} = "{value}"\n' for key, value in keys.items() if value is not None)
        (state / "ca.toml").write_text("[pkcs11]\n" + text)
        return state

    return configure


def refused(state: Path, at: datetime = NOW) -> str:
    with pytest.raises(ConfigurationError) as caught:
        files.load_authority(state, ACCEPTED, at)
    assert PIN not in f"{caught.value} {caught.value.hint}"
    return f"{caught.value}; {caught.value.hint}"


def test_a_steward_issues_under_a_root_whose_key_is_in_the_token(configure, token, http, keep):
    state = configure()
    running = launch_with(state, http)
    leaf, intermediate, root = running.client.certify(keep)
    assert running.end() == 0
    leaf.verify_directly_issued_by(intermediate)
    intermediate.verify_directly_issued_by(root)
    assert root.public_bytes(Encoding.PEM) == (state / "root.pem").read_bytes()
    assert not (state / "ca.key").exists()
    (state / "root-only.pem").write_bytes(root.public_bytes(Encoding.PEM))
    (state / "above.pem").write_bytes(intermediate.public_bytes(Encoding.PEM))
    (state / "leaf.pem").write_bytes(leaf.public_bytes(Encoding.PEM))
    words = ["-x509_strict", "-CAfile", "root-only.pem", "-untrusted", "above.pem", "leaf.pem"]
    ended = subprocess.run(["openssl", "verify", *words], cwd=state, capture_output=True, text=True)
    assert ended.stdout == "leaf.pem: OK\n", ended.stderr


def launch_with(state: Path, http):
    """A Steward as a process, which finds the device by the environment."""
    return launch(state, http, environment={"SOFTHSM2_CONF": os.environ["SOFTHSM2_CONF"]})


def test_a_root_in_the_token_is_replaced_by_one_beside_it(configure, token):
    state = configure()
    old = files.load_authority(state, ACCEPTED, NOW)
    for label, why in {"": "--key LABEL", "root": "another name"}.items():
        with pytest.raises(ConfigurationError) as caught:
            ceremony.roll(state, NOW, label)
        assert why in caught.value.hint
    rolled = ceremony.roll(state, NOW, "root-2")
    new = files.load_authority(state, ACCEPTED, NOW)
    assert hsm.read_configuration(state / "ca.toml").public_key() == rolled.certificate.public_key()
    assert new.root.certificate == rolled.certificate != old.root.certificate
    assert new.root.above[-1] == old.root.certificate
    new.root.above[0].verify_directly_issued_by(old.root.certificate)
    new.certificate.verify_directly_issued_by(new.root.certificate)
    assert not (state / "ca.key").exists()


def test_a_root_is_not_replaced_by_a_key_that_the_token_has_already(configure, token):
    state = configure(key="rolled-away-from")
    hsm.read_configuration(state / "ca.toml").make()
    configured = (configure() / "ca.toml").read_bytes()
    root = files.load_root(state, NOW)
    with pytest.raises(ConfigurationError, match="the token has a key 'rolled-away-from' already") as caught:
        ceremony.roll(state, NOW, "rolled-away-from")
    assert "a name that no key has yet" in caught.value.hint
    assert files.load_root(state, NOW).certificate == root.certificate
    assert (state / "ca.toml").read_bytes() == configured


def test_the_token_is_asked_for_new_intermediates_and_for_nothing_else(configure, token):
    state = configure()
    first = files.load_authority(state, ACCEPTED, NOW)
    (device,) = (token / "tokens").iterdir()
    device.rename(token / "taken-away")
    again = files.load_authority(state, ACCEPTED, NOW + timedelta(days=1))
    assert again.certificate == first.certificate
    assert "there is no token of this label" in refused(state, NOW + timedelta(days=20))
    (token / "taken-away").rename(device)
    renewed = files.load_authority(state, ACCEPTED, NOW + timedelta(days=20))
    renewed.certificate.verify_directly_issued_by(first.root.certificate)


def test_the_key_cannot_be_taken_out(configure, token):
    state = configure()
    files.load_authority(state, ACCEPTED, NOW)
    with pkcs11.lib(str(MODULE)).get_token(token_label="steward").open(user_pin=PIN) as session:
        key = session.get_key(object_class=pkcs11.ObjectClass.PRIVATE_KEY, label="root")
        assert (key[pkcs11.Attribute.EXTRACTABLE], key[pkcs11.Attribute.SENSITIVE]) == (False, True)
        assert key[pkcs11.Attribute.NEVER_EXTRACTABLE]
    with pytest.raises(NotImplementedError):
        hsm.read_configuration(state / "ca.toml").private_numbers()


def test_a_key_that_could_be_taken_out_is_refused(configure, token):
    from pkcs11.util.ec import encode_named_curve_parameters

    with pkcs11.lib(str(MODULE)).get_token(token_label="steward").open(rw=True, user_pin=PIN) as session:
        curve = {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}
        parameters = session.create_domain_parameters(pkcs11.KeyType.EC, curve, local=True)
        template = {pkcs11.Attribute.EXTRACTABLE: True, pkcs11.Attribute.SENSITIVE: False}
        parameters.generate_keypair(store=True, label="root", private_template=template)
    assert "could be taken out of the token" in refused(configure())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"token": "other"}, "there is no token of this label"),
        ({"module": "/nowhere/libhsm.so"}, "/nowhere/libhsm.so: there is no such library"),
        ({"pin_file": "/nowhere/pin"}, "/nowhere/pin: the PIN cannot be read"),
        ({"pin_file": None}, "give one of them"),
        ({"pin_env": "PIN_OF_STEWARD"}, "give one of them"),
        (
            {"pin_file": None, "pin_env": "PIN_OF_STEWARD"},
            "which is to have the token's PIN, is not set",
        ),
        ({"pin": "1234"}, "unknown field `pin`"),
        ({"module": None}, "missing required field `module`"),
    ],
    ids=["token", "module", "no-pin", "no-pin-source", "two-pin-sources", "pin-not-set", "pin-in-file", "no-module"],
)
def test_a_configuration_that_does_not_fit(configure, changes, message):
    assert message in refused(configure(**changes))


def test_a_wrong_pin(configure, token):
    (token / "pin").write_text("000000")
    assert "the token does not take the PIN" in refused(configure())


def test_a_pin_that_others_can_read(configure, token):
    (token / "pin").chmod(0o640)
    assert "others could read the PIN" in refused(configure())


def test_a_pin_of_the_environment(configure, monkeypatch):
    monkeypatch.setenv("PIN_OF_STEWARD", PIN)
    assert files.load_authority(configure(pin_file=None, pin_env="PIN_OF_STEWARD"), ACCEPTED, NOW)


def test_a_key_that_is_gone_is_not_replaced(configure):
    state = configure()
    root = files.load_root(state, NOW)
    configure(key="another")
    assert "there is no key of this label in the token" in refused(state)
    assert (state / "root.pem").read_text() == root.pem


def test_a_root_of_another_key_signs_nothing(configure):
    state = configure(key="first")
    files.load_root(state, NOW)
    (state / "root.pem").rename(state / "root-of-first.pem")
    configure(key="second")
    files.load_root(state, NOW)
    (state / "root-of-first.pem").replace(state / "root.pem")
    assert "the root certificate is not that of the key" in refused(state)
    assert list((state / "intermediates").iterdir()) == []


def test_a_key_in_a_file_beside_it_is_an_error(configure):
    state = configure()
    (state / "ca.key").write_text("")
    assert "has both ca.toml and ca.key" in refused(state)


def test_requests_for_certificates_can_be_signed_in_the_token(configure):
    key = hsm.read_configuration(configure() / "ca.toml")
    key.make()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Steward")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, SHA256())
    assert request.is_signature_valid
    assert request.public_key() == key.public_key()
